#include <cmath>
#include <vector>

#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {
namespace {

// Output row of one query head: it sees keys begin…end-1 of the sequence.
struct Query {
  PagedSequence sequence;
  int64_t row;
  int64_t head;
  int64_t begin;
  int64_t end;
};

void attend(const PagedAttentionArgs& a, const Query& q) {
  const int64_t kv = q.head / (a.q.dim(1) / a.k_pages.dim(2));
  const int64_t dim = a.q.dim(2);
  const auto page = [&](int64_t j) {
    return get_i32(a.page_list, q.sequence.pages_begin + j / kPageTokens);
  };
  std::vector<double> scores;
  double highest = -INFINITY;
  for (int64_t j = q.begin; j < q.end; ++j) {
    double dot = 0;
    for (int64_t i = 0; i < dim; ++i) {
      dot += get(a.q, q.row, q.head, i) * get(a.k_pages, page(j), j % kPageTokens, kv, i);
    }
    scores.push_back(dot * a.scale);
    highest = std::max(highest, scores.back());
  }
  double sum = 0;
  std::vector<double> out(static_cast<size_t>(dim), 0.0);
  for (int64_t j = q.begin; j < q.end; ++j) {
    const double weight = std::exp(scores[static_cast<size_t>(j - q.begin)] - highest);
    sum += weight;
    for (int64_t i = 0; i < dim; ++i) {
      out[static_cast<size_t>(i)] += weight * get(a.v_pages, page(j), j % kPageTokens, kv, i);
    }
  }
  for (int64_t i = 0; i < dim; ++i) {
    set(a.out, out[static_cast<size_t>(i)] / sum, q.row, q.head, i);
  }
}

}  // namespace

void kv_write(const ExecutionContext& ctx, const KvWriteArgs& a) {
  if (a.q.defined()) {
    rope(ctx, {.x = a.q, .table = a.table, .out = a.q});
  }
  const int64_t half = a.k.dim(2) / 2;
  for (int64_t n = 0; n < a.k.dim(0); ++n) {
    const int64_t page = get_i32(a.slots, n) / kPageTokens;
    const int64_t place = get_i32(a.slots, n) % kPageTokens;
    for (int64_t h = 0; h < a.k.dim(1); ++h) {
      for (int64_t i = 0; i < half; ++i) {
        const double c = get(a.table, n, i);
        const double s = get(a.table, n, half + i);
        const double x = get(a.k, n, h, i);
        const double y = get(a.k, n, h, half + i);
        set(a.k_pages, x * c - y * s, page, place, h, i);
        set(a.k_pages, y * c + x * s, page, place, h, half + i);
      }
      for (int64_t i = 0; i < 2 * half; ++i) {
        set(a.v_pages, get(a.v, n, h, i), page, place, h, i);
      }
    }
  }
}

void paged_attention(const ExecutionContext&, const PagedAttentionArgs& a) {
  const auto* sequences = reinterpret_cast<const PagedSequence*>(a.sequences.raw());
  for (int64_t i = 0; i < a.sequences.dim(0); ++i) {
    const PagedSequence& s = sequences[i];
    for (int64_t t = 0; t < s.length; ++t) {
      const int64_t end = s.kv_length - s.length + t + 1;
      for (int64_t h = 0; h < a.q.dim(1); ++h) {
        attend(a, {.sequence = s,
                   .row = s.query_begin + t,
                   .head = h,
                   .begin = a.window > 0 && end > a.window ? end - a.window : 0,
                   .end = end});
      }
    }
  }
}

}  // namespace offbook::ops::ref
