#include "src/retrieve/dense_index.h"

#include <algorithm>
#include <cstring>

// False alarms of g++ 12 inside the library's own templates.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wreorder"
#include <hnswlib/hnswlib.h>
#pragma GCC diagnostic pop

#include "src/base/error.h"
#include "src/base/float16.h"
#include "src/ops/linear/linear.h"
#include "src/store/document_table.h"

namespace offbook::retrieve {
namespace {

bool is_better(const DenseHit& a, const DenseHit& b) {
  return a.cosine != b.cosine ? a.cosine > b.cosine : a.passage_id < b.passage_id;
}

void keep_best(std::vector<DenseHit>& hits, int top_k) {
  const size_t keep = std::min(hits.size(), static_cast<size_t>(top_k));
  std::partial_sort(hits.begin(), hits.begin() + static_cast<std::ptrdiff_t>(keep), hits.end(),
                    is_better);
  hits.resize(keep);
}

// bf16 rows of a block, whatever it holds.
void append_rows(const Tensor& from, uint16_t* to) {
  if (from.dtype() == Dtype::bf16) {
    std::memcpy(to, from.raw(), static_cast<size_t>(from.bytes()));
    return;
  }
  const float* values = from.data<float>();
  for (int64_t i = 0; i < from.numel(); ++i) {
    to[i] = to_bf16(values[i]).bits;
  }
}

std::vector<float> widened(const uint16_t* row, int64_t dims) {
  std::vector<float> out(static_cast<size_t>(dims));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = to_float(Bf16{row[i]});
  }
  return out;
}

}  // namespace

struct DenseIndex::Graph {
  // 32 neighbours and a candidate list of 200 are what the recall of the exact scan was compared
  // at.
  static constexpr size_t kNeighbours = 32, kBuildCandidates = 200, kSearchCandidates = 200;
  hnswlib::InnerProductSpace space;
  hnswlib::HierarchicalNSW<float> hnsw;

  Graph(int64_t dims, size_t count)
      : space(static_cast<size_t>(dims)), hnsw(&space, count, kNeighbours, kBuildCandidates) {}
};

DenseIndex::DenseIndex(const backend::ExecutionContext& ctx,
                       std::span<const store::VectorBlock> blocks, int64_t dims,
                       int64_t exact_up_to)
    : ctx_(ctx) {
  copy_in(blocks, dims);
  if (size() > exact_up_to) {
    build_graph();
  }
}

DenseIndex::~DenseIndex() = default;
DenseIndex::DenseIndex(DenseIndex&&) noexcept = default;

void DenseIndex::copy_in(std::span<const store::VectorBlock> blocks, int64_t dims) {
  int64_t count = 0;
  for (const store::VectorBlock& block : blocks) {
    OB_REQUIRE(block.vectors.dim(1) == dims, Corrupt,
               "stored vectors have {} dimensions, the encoder makes {}; `offbook check --repair` "
               "makes them again",
               block.vectors.dim(1), dims);
    count += block.ids.numel();
  }
  ids_.reserve(static_cast<size_t>(count));
  vectors_ = Tensor::empty(Dtype::bf16, {count, dims});
  scores_ = Tensor::empty(Dtype::f32, {1, count});
  uint16_t* next = vectors_.data<uint16_t>();
  for (const store::VectorBlock& block : blocks) {
    const int64_t* ids = block.ids.data<int64_t>();
    ids_.insert(ids_.end(), ids, ids + block.ids.numel());
    append_rows(block.vectors, next);
    next += block.vectors.numel();
  }
  OB_REQUIRE(std::is_sorted(ids_.begin(), ids_.end()), Corrupt,
             "stored vectors are not in the order of their passages");
}

void DenseIndex::build_graph() {
  const int64_t dims = vectors_.dim(1);
  graph_ = std::make_unique<Graph>(dims, ids_.size());
  for (size_t i = 0; i < ids_.size(); ++i) {
    const auto row = widened(vectors_.data<uint16_t>() + static_cast<int64_t>(i) * dims, dims);
    graph_->hnsw.addPoint(row.data(), i);
  }
  graph_->hnsw.setEf(Graph::kSearchCandidates);
}

std::vector<DenseHit> DenseIndex::search(std::span<const float> query, int top_k,
                                         const std::vector<int64_t>* documents) {
  OB_REQUIRE(static_cast<int64_t>(query.size()) == vectors_.dim(1), InvalidArgument,
             "a query vector has {} numbers, not {}", vectors_.dim(1), query.size());
  if (ids_.empty() || top_k <= 0) {
    return {};
  }
  return is_exact() || documents != nullptr ? scan(query, top_k, documents)
                                            : walk_graph(query, top_k);
}

std::vector<DenseHit> DenseIndex::scan(std::span<const float> query, int top_k,
                                       const std::vector<int64_t>* documents) {
  const Tensor x = Tensor::empty(Dtype::f32, {1, vectors_.dim(1)});
  std::copy(query.begin(), query.end(), x.data<float>());
  backend::ExecutionContext exact = ctx_;
  exact.compute = backend::Compute::f32;
  backend::ArenaScope scope(*ctx_.arena);
  ops::linear(exact, {.x = x, .weight = vectors_, .out = scores_});
  std::vector<DenseHit> hits;
  hits.reserve(ids_.size());
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (documents == nullptr ||
        std::binary_search(documents->begin(), documents->end(), store::document_of(ids_[i]))) {
      hits.push_back({ids_[i], scores_.data<float>()[i]});
    }
  }
  keep_best(hits, top_k);
  return hits;
}

std::vector<DenseHit> DenseIndex::walk_graph(std::span<const float> query, int top_k) {
  auto found = graph_->hnsw.searchKnn(query.data(), std::min<size_t>(ids_.size(), top_k));
  std::vector<DenseHit> hits;
  for (; !found.empty(); found.pop()) {
    hits.push_back({ids_[found.top().second], 1.0f - found.top().first});
  }
  keep_best(hits, top_k);
  return hits;
}

}  // namespace offbook::retrieve
