// What a decoder's pass reads beside weights and cache: a few lists of numbers, in one block of
// memory so that they travel in one copy.
#pragma once
#include <cstdint>
#include <vector>

#include "src/backend/context.h"
#include "src/model/kv_cache.h"

namespace offbook::model {

// Lists of a pass to come, on the host. Keeps its memory when cleared.
struct PassInputs {
  std::vector<int32_t> ids, positions, slots, adapter_of_row;  // one a row
  std::vector<int32_t> sequences;                              // ops::PagedSequence of each append
  std::vector<int32_t> page_list;
  std::vector<int32_t> last_rows;  // whose logits are wanted
  int32_t max_length = 0;
  int32_t max_kv_length = 0;

  void clear();
  // Makes room for `rows` behind a sequence and adds them, without ids.
  void add(const backend::ExecutionContext& ctx, Sequence& sequence, int32_t rows, int32_t adapter);

  // The same lists as views of one i32 tensor.
  struct Views {
    Tensor ids, positions, slots, adapter_of_row, sequences, page_list, last_rows;
  };
  // The first page of the only sequence when its pages follow one another, else −1.
  int32_t lone_pages() const;
  // Numbers that a block needs; `page_entries`: as many pages as may come later.
  int64_t block_size(int64_t page_entries) const;
  // Fills the block from the lists and names its parts. The block is at least block_size() long.
  Views fill(const backend::ExecutionContext& ctx, const Tensor& block, int64_t page_entries);

 private:
  std::vector<int32_t> packed_;
};

}  // namespace offbook::model
