#include <cmath>
#include <vector>

#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {
namespace {

// Keys or values of a sequence for one KV head, [kv_length, dim]: read once for all queries.
std::vector<double> rows_of(const PagedAttentionArgs& a, const PagedSequence& s,
                            const Tensor& pages, int64_t kv_head) {
  const int64_t dim = pages.dim(3);
  std::vector<double> out;
  out.reserve(static_cast<size_t>(s.kv_length * dim));
  for (int64_t j = 0; j < s.kv_length; ++j) {
    const int64_t page = get_i32(a.page_list, s.pages_begin + j / kPageTokens);
    for (int64_t i = 0; i < dim; ++i) {
      out.push_back(get(pages, page, j % kPageTokens, kv_head, i));
    }
  }
  return out;
}

// The keys begin…end-1 that a query sees, and what it makes of them.
void attend(const PagedAttentionArgs& a, const double* k, const double* v, int64_t row,
            int64_t head, int64_t begin, int64_t end) {
  const int64_t dim = a.q.dim(2);
  std::vector<double> q;
  for (int64_t i = 0; i < dim; ++i) {
    q.push_back(get(a.q, row, head, i));
  }
  std::vector<double> scores;
  double highest = -INFINITY;
  for (int64_t j = begin; j < end; ++j) {
    double dot = 0;
    for (int64_t i = 0; i < dim; ++i) {
      dot += q[static_cast<size_t>(i)] * k[j * dim + i];
    }
    scores.push_back(dot * a.scale);
    highest = std::max(highest, scores.back());
  }
  double sum = 0;
  std::vector<double> out(static_cast<size_t>(dim), 0.0);
  for (int64_t j = begin; j < end; ++j) {
    const double weight = std::exp(scores[static_cast<size_t>(j - begin)] - highest);
    sum += weight;
    for (int64_t i = 0; i < dim; ++i) {
      out[static_cast<size_t>(i)] += weight * v[j * dim + i];
    }
  }
  for (int64_t i = 0; i < dim; ++i) {
    set(a.out, out[static_cast<size_t>(i)] / sum, row, head, i);
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
  const int64_t group = a.q.dim(1) / a.k_pages.dim(2);
  for (int64_t i = 0; i < a.sequences.dim(0); ++i) {
    const PagedSequence& s = sequences[i];
    for (int64_t kv = 0; s.length > 0 && kv < a.k_pages.dim(2); ++kv) {
      const std::vector<double> k = rows_of(a, s, a.k_pages, kv);
      const std::vector<double> v = rows_of(a, s, a.v_pages, kv);
      for (int64_t t = 0; t < s.length; ++t) {
        const int64_t end = s.kv_length - s.length + t + 1;
        const int64_t begin = a.window > 0 && end > a.window ? end - a.window : 0;
        for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
          attend(a, k.data(), v.data(), s.query_begin + t, h, begin, end);
        }
      }
    }
  }
}

}  // namespace offbook::ops::ref
