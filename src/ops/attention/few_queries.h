// A chunk of keys for a few queries, as in decoding: memory is the limit. It is read in order, a
// tile of keys after the other with all heads of a key, and the next tile comes closer while one is
// multiplied. Scores and sums are the same chains as for many queries: the same bits. bf16 factors
// only. Include after isa_begin.h.
#pragma once
#include "src/ops/attention/pairs.h"
#include "src/ops/attention/problem.h"
#include "src/ops/attention/softmax.h"

#if defined(OB_ISA_AVX512)

namespace offbook::ops::OB_ISA {

// sums [R, V vectors] += Σ weights of keys j, j + 1 · columns of the pair, over pairs from `begin`
// (even) up to `end`. row(j) is a row's first column here; `last` lanes count in the last vector.
template <typename T, int R, int V, typename RowOf>
inline void add_weighted_pairs(const Bf16* weights, int64_t ldw, Span keys, const RowOf& row,
                               int last, float* sums, int64_t lds) {
  Vec acc[R][V];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      acc[r][v] = load(sums + r * lds + v * Vec::kLanes);
    }
  }
  for (int64_t j = keys.begin / 2 * 2; j < keys.end; j += 2) {
    __m512bh lanes[V];
    pair_lanes<T, V>(j >= keys.begin ? row(j) : nothing<T>(),
                     j + 1 < keys.end ? row(j + 1) : nothing<T>(), last, lanes);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m512bh one = splat_pair(weights + r * ldw + j);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        acc[r][v].v = _mm512_dpbf16_ps(acc[r][v].v, one, lanes[v]);
      }
    }
  }
  store_sums<R, V>(acc, sums, lds);
}

// Parts of a float buffer that a worker has; queries are rows of one block, all heads of it.
struct FewScratch {
  static int64_t floats(int64_t rows, int64_t dim, int64_t chunk) {
    const int64_t wide = (dim + 15) / 16 * 16;
    return rows * (dim / 2 + chunk + chunk / 2 + wide + 2) + kTileColumns * dim / 2 + 64;
  }
  FewScratch(int64_t rows, int64_t dim, int64_t chunk, float* base) : wide((dim + 15) / 16 * 16) {
    scores = base;
    weights = reinterpret_cast<Bf16*>(scores + rows * chunk);
    sums = scores + rows * (chunk + chunk / 2);
    keys = sums + rows * wide;
    q = reinterpret_cast<Bf16*>(keys + kTileColumns * dim / 2);
  }
  int64_t wide;
  float* scores;  // [rows, chunk]
  Bf16* weights;  // [rows, chunk]
  float* sums;    // [rows, wide]
  float* keys;    // [tile / 16, dim / 2, 16] pairs
  Bf16* q;        // [rows, dim]
};

// Rows of the scratch are key heads × the rows of a block: head h (from the first) has rows
// h · rows … (h + 1) · rows - 1.
template <typename T>
class FewQueries {
 public:
  // key_rows: of the chunk's keys, places in the chunk; `keys` are those that a query sees.
  FewQueries(const AttentionProblem& p, const FewScratch& scratch, int64_t chunk,
             const int64_t* key_rows, Span keys, int64_t first_head, int64_t end_head, int64_t rows)
      : p_(p),
        s_(scratch),
        chunk_(chunk),
        key_rows_(key_rows),
        keys_(keys),
        first_(first_head),
        end_(end_head),
        rows_(rows),
        k_(of(p.k)),
        v_(of(p.v)) {}

  // seen(row) are the keys of the chunk that a row sees. parts [heads · rows].
  template <typename Seen>
  void run(const Seen& seen, Part* parts) {
    for (int64_t t = keys_.begin / kTileColumns * kTileColumns; t < keys_.end; t += kTileColumns) {
      score_tile(t);
    }
    const Span pairs{keys_.begin / 2 * 2, (keys_.end + 1) / 2 * 2};
    for (int64_t row = 0; row < (end_ - first_) * rows_; ++row) {
      parts[row] = softmax_part(s_.scores + row * chunk_, s_.weights + row * chunk_, pairs,
                                seen(row % rows_), p_.scale * kLog2E);
    }
    std::fill(s_.sums, s_.sums + (end_ - first_) * rows_ * s_.wide, 0.0f);
    for (int64_t t = keys_.begin / kTileColumns * kTileColumns; t < keys_.end; t += kTileColumns) {
      sum_tile(t);
    }
  }

 private:
  Span in_tile(int64_t t) const {
    return {std::max(t, keys_.begin), std::min(t + kTileColumns, keys_.end)};
  }

  // Keys or values of the first head, in elements.
  struct Source {
    const T* first;
    int64_t row_step;
    int64_t head_step;
    const T* at(int64_t row, int64_t head) const {
      return first + row * row_step + head * head_step;
    }
  };
  Source of(const Tensor& t) const { return {head_of<T>(t, 0, first_), t.stride(0), t.stride(1)}; }

  // Brings the tile at places `from` … closer, a cache line a call, in the order in which it lies
  // in memory: keys, and behind the last of them values. To L2, as L1 has no room for a tile more;
  // and one by one, as a core has room for a few dozen lines on their way (Zen 4, one thread, from
  // memory: 13.4 GB/s; to L1 11.0; nothing fetched 8.2; in bursts 6).
  class Ahead {
   public:
    Ahead(const FewQueries& of, int64_t from) : of_(of) {
      const int64_t count = of.keys_.end - of.keys_.begin;
      source_ = from < count ? &of.k_ : &of.v_;
      rows_ = of.key_rows_ + of.keys_.begin + (from < count ? from : from - count);
      left_ = std::clamp<int64_t>((from < count ? count : 2 * count) - from, 0, kTileColumns);
    }
    void fetch_line() {
      if (left_ <= 0) {
        return;
      }
      __builtin_prefetch(source_->at(*rows_, 0) + column_, 0, 2);
      column_ += 64 / static_cast<int64_t>(sizeof(T));
      if (column_ >= (of_.end_ - of_.first_) * source_->head_step) {
        column_ = 0;
        ++rows_;
        --left_;
      }
    }

   private:
    const FewQueries& of_;
    const Source* source_;
    const int64_t* rows_;
    int64_t left_;
    int64_t column_ = 0;
  };

  void score_tile(int64_t t) {
    const Span keys = in_tile(t);
    Ahead ahead(*this, keys.begin - keys_.begin + kTileColumns);
    for (int64_t h = 0; h < end_ - first_; ++h) {
      const auto key = [&](int64_t j) __attribute__((always_inline)) {
        ahead.fetch_line();
        return k_.at(key_rows_[j], h);
      };
      for (int64_t j = keys.begin / Vec::kLanes * Vec::kLanes; j < keys.end; j += Vec::kLanes) {
        pack_columns<Units::pairs>(key, std::max(j, keys.begin),
                                   std::min(j + Vec::kLanes, keys.end), p_.dim() / 2,
                                   s_.keys + (j - t) / Vec::kLanes * panel() - j, Vec::kLanes);
      }
      for (int64_t r = 0; r < rows_; r += kTileRows) {
        const int64_t row = h * rows_ + r;
        with_rows(static_cast<int>(std::min<int64_t>(kTileRows, rows_ - r)), [&](auto n) {
          score_panels<n>(s_.q + row * p_.dim(), p_.dim(), s_.keys, p_.dim() / 2,
                          (keys.end - t + Vec::kLanes - 1) / Vec::kLanes,
                          s_.scores + row * chunk_ + t, chunk_);
        });
      }
    }
  }

  int64_t panel() const { return p_.dim() / 2 * Vec::kLanes; }

  void sum_tile(int64_t t) {
    const Span keys = in_tile(t);
    Ahead ahead(*this, keys_.end + keys.begin - 2 * keys_.begin + kTileColumns);
    for (int64_t h = 0; h < end_ - first_; ++h) {
      for (int64_t c = 0; c < s_.wide; c += kTileColumns) {
        for (int64_t r = 0; r < rows_; r += kTileRows) {
          const auto value = [&](int64_t j) __attribute__((always_inline)) {
            if (r == 0) {
              ahead.fetch_line();
              ahead.fetch_line();
            }
            return v_.at(key_rows_[j], h) + c;
          };
          const int64_t row = h * rows_ + r;
          with_rows(static_cast<int>(std::min<int64_t>(kTileRows, rows_ - r)), [&](auto n) {
            add_columns<n>(s_.weights + row * chunk_, keys, value,
                           std::min(s_.wide - c, kTileColumns) / Vec::kLanes, c,
                           s_.sums + row * s_.wide + c);
          });
        }
      }
    }
  }

  template <int R, typename RowOf>
  void add_columns(const Bf16* weights, Span keys, const RowOf& value, int64_t vectors,
                   int64_t column, float* sums) const {
    constexpr int kLanes = Vec::kLanes;
    if (vectors == 4 && column + 4 * kLanes <= p_.dim()) {
      return add_weighted_pairs<T, R, 4>(weights, chunk_, keys, value, kLanes, sums, s_.wide);
    }
    for (int64_t v = 0; v < vectors; ++v) {
      const auto from = [&](int64_t j) { return value(j) + v * kLanes; };
      const int64_t left = p_.dim() - column - v * kLanes;
      add_weighted_pairs<T, R, 1>(weights, chunk_, keys, from,
                                  static_cast<int>(std::min<int64_t>(kLanes, left)),
                                  sums + v * kLanes, s_.wide);
    }
  }

  const AttentionProblem& p_;
  const FewScratch& s_;
  int64_t chunk_;
  const int64_t* key_rows_;
  Span keys_;
  int64_t first_;
  int64_t end_;
  int64_t rows_;
  Source k_;
  Source v_;
};

}  // namespace offbook::ops::OB_ISA

#endif
