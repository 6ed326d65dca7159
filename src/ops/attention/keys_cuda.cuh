// Where the keys of a query lie, and which of them it sees: the same for packed sequences with a
// shared prefix and for a cache in pages, so that one kernel serves both.
//
// The keys of a sequence have positions 0…count-1. A query at position p sees lo…hi-1.
#pragma once
#include <climits>

#include "src/ops/cuda/elements.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {

// Distances in elements between rows and between heads of one tensor.
struct HeadStrides {
  int64_t row;
  int64_t head;
};

// One sequence as a kernel sees it.
struct SequenceView {
  int query_begin;     // row of its first query
  int length;          // queries
  int count;           // keys
  int first_position;  // of query 0
};

struct PackedKeys {
  const int32_t* sequences;
  HeadStrides k;
  HeadStrides v;
  int window;
  bool causal;

  __device__ const AttentionSequence& sequence(int s) const {
    return reinterpret_cast<const AttentionSequence*>(sequences)[s];
  }
  __device__ SequenceView view(int s) const {
    const AttentionSequence& q = sequence(s);
    return {q.query_begin, q.length, q.prefix_len + q.length, q.prefix_len};
  }
  __device__ int hi(int position, int count) const { return causal ? position + 1 : count; }
  __device__ int lo(int position) const { return window > 0 ? max(0, position - window + 1) : 0; }
  // Row of k and v of the key at a position.
  __device__ int64_t row(int s, int position) const {
    const AttentionSequence& q = sequence(s);
    return position < q.prefix_len ? q.prefix_begin + position
                                   : q.own_begin + position - q.prefix_len;
  }
  // Tiles of at most kTile neighbouring rows: those of the prefix, then the own ones.
  template <int kTile>
  __device__ int tile_of(int s, int position) const {
    const AttentionSequence& q = sequence(s);
    const int prefix_tiles = (q.prefix_len + kTile - 1) / kTile;
    return position < q.prefix_len ? position / kTile
                                   : prefix_tiles + (position - q.prefix_len) / kTile;
  }
  template <int kTile>
  __device__ void tile(int s, int index, int64_t& first_row, int& position, int& rows) const {
    const AttentionSequence& q = sequence(s);
    const int prefix_tiles = (q.prefix_len + kTile - 1) / kTile;
    if (index < prefix_tiles) {
      position = index * kTile;
      first_row = q.prefix_begin + position;
      rows = min(kTile, q.prefix_len - position);
    } else {
      const int own = (index - prefix_tiles) * kTile;
      position = q.prefix_len + own;
      first_row = q.own_begin + own;
      rows = min(kTile, q.length - own);
    }
  }
};

struct PagedKeys {
  const int32_t* sequences;
  const int32_t* page_list;
  HeadStrides k;
  HeadStrides v;
  int window;

  __device__ const PagedSequence& sequence(int s) const {
    return reinterpret_cast<const PagedSequence*>(sequences)[s];
  }
  __device__ SequenceView view(int s) const {
    const PagedSequence& q = sequence(s);
    return {q.query_begin, q.length, q.kv_length, q.kv_length - q.length};
  }
  __device__ int hi(int position, int) const { return position + 1; }
  __device__ int lo(int position) const { return window > 0 ? max(0, position - window + 1) : 0; }
  __device__ int64_t row(int s, int position) const {
    const int page = page_list[sequence(s).pages_begin + position / kPageTokens];
    return static_cast<int64_t>(page) * kPageTokens + position % kPageTokens;
  }
  template <int kTile>
  __device__ int tile_of(int, int position) const {
    return position / kTile;
  }
  template <int kTile>
  __device__ void tile(int s, int index, int64_t& first_row, int& position, int& rows) const {
    static_assert(kPageTokens % kTile == 0);
    position = index * kTile;
    first_row = row(s, position);
    rows = min(kTile, sequence(s).kv_length - position);
  }
};

inline HeadStrides head_strides(const Tensor& t) {
  return {t.stride(0), t.stride(1)};
}

inline PackedKeys packed_keys(const AttentionArgs& a) {
  return {a.sequences.data<int32_t>(), head_strides(a.k), head_strides(a.v), a.window,
          a.mask == Mask::causal};
}

// Pages are contiguous [pages, kPageTokens, kv_heads, dim]: rows of tokens.
inline PagedKeys paged_keys(const PagedAttentionArgs& a) {
  const int64_t dim = a.k_pages.dim(3);
  const HeadStrides strides{a.k_pages.dim(2) * dim, dim};
  return {a.sequences.data<int32_t>(), a.page_list.data<int32_t>(), strides, strides, a.window};
}

// Everything of a forward pass but its keys.
struct AttentionShape {
  HeadStrides q;
  HeadStrides out;
  float* lse;  // [n, heads] or null
  int heads;
  int group;  // query heads for each key head
  int dim;
  float scale;
};

// Rows and heads of t may be read 16 bytes at a time.
inline bool heads_aligned(const Tensor& t) {
  const auto size = dtype_bytes(t.dtype(), 1);
  return reinterpret_cast<uintptr_t>(t.raw()) % 16 == 0 && t.stride(0) * size % 16 == 0 &&
         t.stride(1) * size % 16 == 0 && t.dim(2) * size % 16 == 0;
}

}  // namespace offbook::ops::cuda
