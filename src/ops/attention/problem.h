// Attention over packed sequences and over a paged cache, seen as one problem by the CPU kernels.
#pragma once
#include <algorithm>
#include <atomic>

#include "src/ops/attention/attention.h"
#include "src/ops/dispatch.h"
#include "src/ops/paged_attention/paged_attention.h"

namespace offbook::ops {

// Keys of a sequence stand at places 0…keys-1; query t at place keys - length + t.
struct KeySequence {
  int64_t query_begin = 0;
  int64_t length = 0;
  int64_t keys = 0;
  const int32_t* pages = nullptr;  // or, when null:
  int64_t prefix_begin = 0;
  int64_t prefix_len = 0;
  int64_t own_begin = 0;

  int64_t key_row(int64_t place) const {
    if (pages != nullptr) {
      return int64_t{pages[place / kPageTokens]} * kPageTokens + place % kPageTokens;
    }
    return place < prefix_len ? prefix_begin + place : own_begin + place - prefix_len;
  }
};

struct AttentionProblem {
  Tensor q;  // [n, heads, dim]
  Tensor k;  // [rows, kv_heads, dim]
  Tensor v;
  Tensor out;
  Tensor lse;  // or undefined
  const AttentionSequence* packed = nullptr;
  const PagedSequence* paged = nullptr;
  const int32_t* page_list = nullptr;
  int64_t sequences = 0;
  int64_t max_length = 0;
  int64_t max_keys = 0;
  Mask mask = Mask::causal;
  int64_t window = 0;
  float scale = 1;

  int64_t heads() const { return q.dim(1); }
  int64_t kv_heads() const { return k.dim(1); }
  int64_t group() const { return q.dim(1) / k.dim(1); }
  int64_t dim() const { return q.dim(2); }

  KeySequence sequence(int64_t i) const {
    if (paged != nullptr) {
      const PagedSequence& s = paged[i];
      return {.query_begin = s.query_begin,
              .length = s.length,
              .keys = s.kv_length,
              .pages = page_list + s.pages_begin};
    }
    const AttentionSequence& s = packed[i];
    return {.query_begin = s.query_begin,
            .length = s.length,
            .keys = int64_t{s.prefix_len} + s.length,
            .prefix_begin = s.prefix_begin,
            .prefix_len = s.prefix_len,
            .own_begin = s.own_begin};
  }
  // First key that query t of a sequence sees, and one past the last.
  int64_t first_key(const KeySequence& s, int64_t t) const {
    return window > 0 ? std::max<int64_t>(0, s.keys - s.length + t + 1 - window) : 0;
  }
  int64_t end_key(const KeySequence& s, int64_t t) const {
    return mask == Mask::causal ? s.keys - s.length + t + 1 : s.keys;
  }
};

inline AttentionProblem problem_of(const AttentionArgs& a) {
  return {.q = a.q,
          .k = a.k,
          .v = a.v,
          .out = a.out,
          .lse = a.lse,
          .packed = reinterpret_cast<const AttentionSequence*>(a.sequences.raw()),
          .sequences = a.sequences.dim(0),
          .max_length = a.max_length,
          .max_keys = int64_t{a.max_length} + a.max_prefix,
          .mask = a.mask,
          .window = a.window,
          .scale = a.scale};
}

// Fills out and lse; attention_cpu.cc.
namespace avx2 {
void solve(const ExecutionContext& ctx, const AttentionProblem& problem);
}
namespace avx512 {
void solve(const ExecutionContext& ctx, const AttentionProblem& problem);
}

// Head `head` of row `row` of a [rows, heads, dim] tensor.
template <typename T>
T* head_of(const Tensor& t, int64_t row, int64_t head) {
  return reinterpret_cast<T*>(t.raw()) + row * t.stride(0) + head * t.stride(1);
}

// Calls fn(worker, item) for every item, worker < pool.threads(): each worker has its own scratch.
// The order of items among workers is open, so an item's result must not depend on it.
template <typename Fn>
void run_items(backend::ThreadPool& pool, int64_t items, const Fn& fn) {
  std::atomic<int64_t> next{0};
  pool.run(std::min<int64_t>(pool.threads(), items), [&](int64_t worker) {
    for (int64_t item = next.fetch_add(1); item < items; item = next.fetch_add(1)) {
      fn(worker, item);
    }
  });
}

}  // namespace offbook::ops
