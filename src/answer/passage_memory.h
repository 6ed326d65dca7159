// Raw passages as keys and values that do not depend on what stands around them, so that any prompt
// can take them over. docs/decisions/0012-passages-are-read-apart.md.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "src/model/llama.h"
#include "src/store/context_artefact.h"
#include "src/store/shelf.h"

namespace offbook::answer {

// A passage behind the beginning of a prompt.
struct ApartPassage {
  int64_t document = 0;
  std::span<const int32_t> tokens;
};

// Reads each passage behind the prompt's beginning and nothing else, and keeps what it read in 8
// bits on a shelf. What comes back has been through those 8 bits whether it was found or computed:
// an answer does not depend on what the shelf holds. CPU only. Not thread-safe.
class PassageMemory {
 public:
  // `ctx`: backend, compute type and threads of the passes, whose memory is this object's own.
  // `shelf` may be null: nothing is kept. `llama` and `shelf` must outlive it.
  PassageMemory(const model::Llama& llama, Fingerprint fingerprint,
                const backend::ExecutionContext& ctx, store::Shelf* shelf);

  struct Reader {  // whose keys and values
    const model::LoraAdapter* adapter = nullptr;
    std::string adapter_id;
  };

  // bf16 [layer, 2, n, kv_head, head_dim], keys before RoPE, of a prompt's first tokens.
  Tensor beginning(std::span<const int32_t> tokens, const Reader& reader);
  // The same of passages, in their order. Those that are missing share passes of at most
  // kPassTokens rows (or one passage).
  std::vector<Tensor> passages(std::span<const int32_t> beginning,
                               std::span<const ApartPassage> passages, const Reader& reader);

  // Puts what was computed since the last call on the shelf and keeps it within its budget: after
  // the answer, which need not wait for it.
  void store_made();

  struct Counts {
    int found = 0, computed = 0;  // passages
    int found_tokens = 0, computed_tokens = 0;
  };
  const Counts& counts() const { return counts_; }

  // 512 rows leave 24 MiB of keys and values behind in f32 for SmolLM2.
  static constexpr int32_t kPassTokens = 512;

 private:
  std::vector<Tensor> compute(const Tensor& beginning,
                              std::span<const std::span<const int32_t>> texts,
                              const model::LoraAdapter* adapter);
  // Keys and values in the form of a context.
  store::Artefact as_artefact(const Tensor& kv, store::KvPrecision precision) const;
  // What stands at a place; undefined when there is nothing.
  Tensor stored(const store::ShelfPlace& place) const;
  std::string key_of(std::span<const int32_t> beginning, std::span<const int32_t> tokens,
                     const Reader& reader) const;

  const model::Llama& llama_;
  Fingerprint fingerprint_;
  backend::Arena arena_;
  backend::ExecutionContext ctx_;
  store::Shelf* shelf_;
  std::vector<store::Shelf::Item> made_;
  std::string last_key_;  // of the beginning asked for last
  Tensor last_;
  Counts counts_;
};

}  // namespace offbook::answer
