// Vectors of passages, searched by cosine.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "src/backend/context.h"
#include "src/store/context_artefact.h"

namespace offbook::retrieve {

struct DenseHit {
  int64_t passage_id = 0;
  float cosine = 0;
};

// Up to this many passages every vector is looked at: 100,000 × 384 bf16 are 77 MB, about 2 ms of
// reading. Above it a graph (hnswlib) is built, which costs about 1 ms a passage once.
inline constexpr int64_t kExactUpTo = 200'000;

// All vectors of one generation, in memory (2 bytes an element). Vectors have length 1, so the dot
// product is the cosine. Not thread-safe.
class DenseIndex {
 public:
  // Blocks in rising order of passage ids, f32 or bf16, all with `dims` columns; Corrupt otherwise.
  // The graph is built here when there are more than `exact_up_to` passages, in order of ids and by
  // one thread, so that the same vectors give the same answers. `ctx` is kept; what it points to
  // must outlive this.
  DenseIndex(const backend::ExecutionContext& ctx, std::span<const store::VectorBlock> blocks,
             int64_t dims, int64_t exact_up_to = kExactUpTo);
  ~DenseIndex();
  DenseIndex(DenseIndex&&) noexcept;

  int64_t size() const noexcept { return static_cast<int64_t>(ids_.size()); }
  bool is_exact() const noexcept { return graph_ == nullptr; }

  // The best `top_k` for a query f32 [dims]; best first, equal cosines by passage id. With
  // `documents` (sorted numbers) only passages of these count, and the search is always exact.
  std::vector<DenseHit> search(std::span<const float> query, int top_k,
                               const std::vector<int64_t>* documents = nullptr);

 private:
  struct Graph;
  void copy_in(std::span<const store::VectorBlock> blocks, int64_t dims);
  void build_graph();
  std::vector<DenseHit> scan(std::span<const float> query, int top_k,
                             const std::vector<int64_t>* documents);
  std::vector<DenseHit> walk_graph(std::span<const float> query, int top_k);

  backend::ExecutionContext ctx_;
  std::vector<int64_t> ids_;
  Tensor vectors_;  // bf16 [n, dims]
  Tensor scores_;   // f32 [1, n]
  std::unique_ptr<Graph> graph_;
};

}  // namespace offbook::retrieve
