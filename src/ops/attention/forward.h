// Forward pass of attention and paged_attention: blocks of query rows walk over chunks of keys.
// Include after isa_begin.h.
//
// Products multiply floats, or bf16 in pairs where the pass computes in bf16 and the CPU is quick
// at it.
//
// Every row is a softmax per chunk of kChunk keys, counted from the first key of its sequence; the
// parts are merged in order. So the bits of a row depend on its own keys alone: not on the threads,
// on the rows beside it, or on whether it was decoded or prefilled.
#pragma once
#include "src/ops/attention/few_queries.h"
#include "src/ops/attention/pairs.h"
#include "src/ops/attention/problem.h"
#include "src/ops/attention/softmax.h"
#include "src/ops/attention/tiles.h"

namespace offbook::ops::OB_ISA {

// 128…512 keys and 48…192 rows differ by about 10% at most in prefill (Intel, 2 MiB of L2 cache).
constexpr int64_t kChunk = 256;
constexpr int64_t kBlockRows =
    96;  // query rows (queries × heads of a group) that share packed keys
constexpr int64_t kNarrowRows = 2 * kTileRows;  // up to which keys and values are not widened
// Rows up to which threads share a block in bf16 (eight tokens that were guessed, of four heads
// each), and rows of all heads whose scores are kept at once.
constexpr int64_t kSplitRows = 32;
constexpr int64_t kRowsAtOnce = 72;

inline int64_t round_up(int64_t x, int64_t to) {
  return (x + to - 1) / to * to;
}

// Queries first … end-1 of a sequence with the heads that share key head kv_head. Row r of the
// block is query first + r / group, head r % group of these.
struct QueryBlock {
  KeySequence sequence;
  int64_t kv_head;
  int64_t first;
  int64_t end;
};

// What a worker needs, as floats of its part of the arena.
struct ForwardScratch {
  static int64_t floats(const AttentionProblem& p) {
    const int64_t wide = round_up(p.dim(), Vec::kLanes);
    return max_rows(p) * (p.dim() + wide + 2) + kChunk * (p.dim() + wide) +
           kTileRows * (kChunk + kChunk / 2 + wide);
  }
  static int64_t block_queries(const AttentionProblem& p) {
    return std::max<int64_t>(1, kBlockRows / p.group());
  }
  static int64_t max_rows(const AttentionProblem& p) { return block_queries(p) * p.group(); }

  ForwardScratch(const AttentionProblem& p, float* base) : wide(round_up(p.dim(), Vec::kLanes)) {
    q = base;
    so_far = q + max_rows(p) * p.dim();
    states = reinterpret_cast<Part*>(so_far + max_rows(p) * wide);
    keys = so_far + max_rows(p) * (wide + 2);
    values = keys + kChunk * p.dim();
    scores = values + kChunk * wide;
    weights = reinterpret_cast<Bf16*>(scores + kTileRows * kChunk);
    part = scores + kTileRows * (kChunk + kChunk / 2);
  }
  int64_t wide;
  float* q;       // [rows, dim], or as many bf16
  float* so_far;  // [rows, wide]
  Part* states;   // [rows]
  float* keys;    // [units, kChunk]; in pairs [kChunk / 16, dim / 2, 16]
  float* values;  // [kChunk, wide], of bf16 values when many rows read them; or [kChunk / 2, wide]
                  // pairs
  float* scores;  // [kTileRows, kChunk]
  Bf16* weights;  // [kTileRows, kChunk], where products multiply bf16
  float* part;    // [kTileRows, wide]
};

// T: of keys and values; F: in which products multiply.
template <typename T, typename F>
class Forward {
 public:
  Forward(const AttentionProblem& problem, float* scratch) : p_(problem), s_(problem, scratch) {}

  // All chunks of a block, then its rows of out and lse.
  void run(const QueryBlock& block) {
    load_queries(block, reinterpret_cast<F*>(s_.q));
    std::fill(s_.states, s_.states + rows(block), Part{});
    const auto [first, end] = chunks(block);
    for (int64_t c = first; c < end; ++c) {
      chunk(block, c, [&](int64_t row, int count, const Part* parts) {
        for (int r = 0; r < count; ++r) {
          merge_part(s_.part + r * s_.wide, parts[r], s_.wide, s_.so_far + (row + r) * s_.wide,
                     &s_.states[row + r]);
        }
      });
    }
    for (int64_t r = 0; r < rows(block); ++r) {
      finish(block, r, s_.so_far + r * s_.wide, s_.states[r]);
    }
  }

  // One chunk of the blocks of key heads block.kv_head … end-1, left at part_of(head, row, chunk)
  // for merge().
  template <typename PartOf>
  void run_chunk(QueryBlock block, int64_t end, int64_t c, const PartOf& part_of) {
    for (; block.kv_head < end; ++block.kv_head) {
      load_queries(block, reinterpret_cast<F*>(s_.q));
      chunk(block, c, [&](int64_t row, int count, const Part* parts) {
        for (int r = 0; r < count; ++r) {
          leave_part(s_.part + r * s_.wide, parts[r], part_of(block.kv_head, row + r, c));
        }
      });
    }
  }

#if defined(OB_ISA_AVX512)
  // The same with bf16 factors, all these heads at once.
  template <typename PartOf>
  void run_chunk_of_pairs(QueryBlock block, int64_t end, int64_t c, const FewScratch& scratch,
                          const PartOf& part_of) {
    const Span keys = seen(block, c, block.first, block.end - 1);
    int64_t key_rows[kChunk];
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      key_rows[j] = block.sequence.key_row(c * kChunk + j);
    }
    const int64_t first = block.kv_head;
    const int64_t count = rows(block);
    for (; block.kv_head < end; ++block.kv_head) {
      load_queries(block, scratch.q + (block.kv_head - first) * count * p_.dim());
    }
    Part parts[kRowsAtOnce];
    FewQueries<T>(p_, scratch, kChunk, key_rows, keys, first, end, count)
        .run([&](int64_t row) { return seen(block, c, query(block, row), query(block, row)); },
             parts);
    for (int64_t i = 0; i < (end - first) * count; ++i) {
      leave_part(scratch.sums + i * s_.wide, parts[i], part_of(first + i / count, i % count, c));
    }
  }
#endif

  template <typename PartOf>
  void merge(const QueryBlock& block, const PartOf& part_of) {
    const auto [first, end] = chunks(block);
    for (int64_t r = 0; r < rows(block); ++r) {
      Part state;
      for (int64_t c = first; c < end; ++c) {
        const float* from = part_of(block.kv_head, r, c);
        merge_part(from, {.highest = from[s_.wide], .sum = from[s_.wide + 1]}, s_.wide, s_.so_far,
                   &state);
      }
      finish(block, r, s_.so_far, state);
    }
  }

  // Chunks that hold a key some row of the block sees.
  Span chunks(const QueryBlock& block) const {
    return {p_.first_key(block.sequence, block.first) / kChunk,
            (p_.end_key(block.sequence, block.end - 1) + kChunk - 1) / kChunk};
  }

 private:
  void leave_part(const float* sums, Part part, float* to) const {
    std::copy(sums, sums + s_.wide, to);
    to[s_.wide] = part.highest;
    to[s_.wide + 1] = part.sum;
  }

  int64_t rows(const QueryBlock& b) const {
    return (b.end - b.first) * p_.group();
  }
  int64_t query(const QueryBlock& b, int64_t row) const {
    return b.first + row / p_.group();
  }

  template <typename X>
  X* row_of(const Tensor& t, const QueryBlock& b, int64_t row) const {
    return head_of<X>(t, b.sequence.query_begin + query(b, row),
                      b.kv_head * p_.group() + row % p_.group());
  }

  void load_queries(const QueryBlock& b, F* q) const {
    with_activation_type(p_.q.dtype(), [&](auto* type) {
      using Q = std::remove_pointer_t<decltype(type)>;
      for (int64_t r = 0; r < rows(b); ++r) {
        const Q* from = row_of<Q>(p_.q, b, r);
        F* to = q + r * p_.dim();
        for_lanes(p_.dim(),
                  [&](int64_t i, int n) { store_some(to + i, load_some(from + i, n), n); });
      }
    });
  }

  // Keys of chunk c that a query sees, counted from the chunk's first.
  Span seen(const QueryBlock& b, int64_t c, int64_t first, int64_t last) const {
    const int64_t begin = p_.first_key(b.sequence, first) - c * kChunk;
    const int64_t end = p_.end_key(b.sequence, last) - c * kChunk;
    return {std::clamp<int64_t>(begin, 0, kChunk), std::clamp<int64_t>(end, 0, kChunk)};
  }

  // sink(first row, rows, parts) is called for tiles of rows, with their sums in s_.part.
  template <typename Sink>
  void chunk(const QueryBlock& b, int64_t c, const Sink& sink) {
    const Span keys = seen(b, c, b.first, b.end - 1);
    int64_t key_rows[kChunk];
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      key_rows[j] = b.sequence.key_row(c * kChunk + j);
    }
    const T* const k = head_of<T>(p_.k, 0, b.kv_head);
    const T* const v = head_of<T>(p_.v, 0, b.kv_head);
    const int64_t k_step = p_.k.stride(0);
    const int64_t v_step = p_.v.stride(0);
    const auto key_row = [&](int64_t j) { return k + key_rows[j] * k_step; };
    const auto value_row = [&](int64_t j) { return v + key_rows[j] * v_step; };
    if constexpr (std::is_same_v<F, Bf16>) {
#if defined(OB_ISA_AVX512)
      for (int64_t j = keys.begin / Vec::kLanes * Vec::kLanes; j < keys.end; j += Vec::kLanes) {
        pack_columns<Units::pairs>(key_row, std::max(j, keys.begin),
                                   std::min(j + Vec::kLanes, keys.end), p_.dim() / 2,
                                   s_.keys + j / Vec::kLanes * panel() - j, Vec::kLanes);
      }
      pack_row_pairs<T>(value_row, keys.begin, keys.end, p_.dim(), s_.values, s_.wide);
      return tiles<Units::pairs>(b, c, value_row, sink);
#endif
    }
    // A few rows leave keys and values as narrow as they are; many share the work of widening.
    if (rows(b) <= kNarrowRows) {
      constexpr Units kNarrow = std::is_same_v<T, Bf16> ? Units::pairs : Units::floats;
      pack_keys<kNarrow>(key_row, value_row, keys);
      return tiles<kNarrow>(b, c, value_row, sink);
    }
    pack_keys<Units::floats>(key_row, value_row, keys);
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      for_lanes(p_.dim(), [&](int64_t i, int n) {
        store(s_.values + j * s_.wide + i, load_some(value_row(j) + i, n));
      });
    }
    tiles<Units::floats>(
        b, c, [&](int64_t j) -> const float* { return s_.values + j * s_.wide; }, sink);
  }

  // Packs keys while values come closer: rows of one head lie apart, which hardware does not follow
  // (decode of 8 rows over 4,096 f32 keys: about 4.5 instead of 6 ms).
  template <Units U, typename KeyRow, typename ValueRow>
  void pack_keys(const KeyRow& key_row, const ValueRow& value_row, Span keys) {
    constexpr int64_t kStep = Vec::kLanes;
    constexpr int64_t kAhead = 2 * kStep;
    for (int64_t j = keys.begin; j < keys.end;) {
      const int64_t end = std::min(round_up(j + 1, kStep), keys.end);
      for (int64_t next = j; next < end; ++next) {
        fetch(value_row(next));
        if (next + kAhead < keys.end) {
          fetch(key_row(next + kAhead));
        }
      }
      pack_columns<U>(key_row, j, end, units_of<U>(p_.dim()), s_.keys, kChunk);
      j = end;
    }
  }

  // Floats of 16 keys in pairs.
  int64_t panel() const {
    return p_.dim() / 2 * Vec::kLanes;
  }

  void fetch(const T* row) const {
    for (int64_t i = 0; i < p_.dim(); i += 64 / static_cast<int64_t>(sizeof(T))) {
      __builtin_prefetch(row + i);
    }
  }

  template <Units U, typename RowOf, typename Sink>
  void tiles(const QueryBlock& b, int64_t c, const RowOf& value_row, const Sink& sink) {
    for (int64_t row = 0; row < rows(b); row += kTileRows) {
      const int count = static_cast<int>(std::min<int64_t>(kTileRows, rows(b) - row));
      const Span keys = seen(b, c, query(b, row), query(b, row + count - 1));
      Part parts[kTileRows];
      with_rows(count, [&](auto n) { tile<U, n>(b, c, row, keys, parts, value_row); });
      sink(row, count, parts);
    }
  }

  template <Units U, int R, typename RowOf>
  void tile(const QueryBlock& b, int64_t c, int64_t row, Span keys, Part* parts,
            const RowOf& value_row) {
    if constexpr (std::is_same_v<F, Bf16>) {
      return tile_of_pairs<R>(b, c, row, keys, parts);
    }
    for (int64_t j = keys.begin / kTileColumns * kTileColumns; j < keys.end; j += kTileColumns) {
      dot_tile<U, R>({.a = s_.q + row * p_.dim(),
                      .lda = p_.dim(),
                      .b = s_.keys + j,
                      .ldb = kChunk,
                      .dim = p_.dim(),
                      .out = s_.scores + j,
                      .ldo = kChunk});
    }
    for (int r = 0; r < R; ++r) {
      const int64_t t = query(b, row + r);
      float* scores = s_.scores + r * kChunk;
      parts[r] = softmax_part(scores, scores, keys, seen(b, c, t, t), p_.scale * kLog2E);
    }
    std::fill(s_.part, s_.part + R * s_.wide, 0.0f);
    weighted_sum<R>({.w = s_.scores,
                     .row_step = kChunk,
                     .step = 1,
                     .begin = keys.begin,
                     .end = keys.end,
                     .out = s_.part,
                     .ldo = s_.wide},
                    value_row, p_.dim());
  }

  template <int R>
  void tile_of_pairs(const QueryBlock& b, int64_t c, int64_t row, Span keys, Part* parts) {
#if defined(OB_ISA_AVX512)
    const int64_t first = keys.begin / Vec::kLanes;
    const int64_t end = (keys.end + Vec::kLanes - 1) / Vec::kLanes;
    score_panels<R>(reinterpret_cast<const Bf16*>(s_.q) + row * p_.dim(), p_.dim(),
                    s_.keys + first * panel(), p_.dim() / 2, end - first,
                    s_.scores + first * Vec::kLanes, kChunk);
    const Span pairs{keys.begin / 2 * 2, round_up(keys.end, 2)};
    for (int r = 0; r < R; ++r) {
      const int64_t t = query(b, row + r);
      parts[r] = softmax_part(s_.scores + r * kChunk, s_.weights + r * kChunk, pairs,
                              seen(b, c, t, t), p_.scale * kLog2E);
    }
    multiply_panels<R>(s_.weights + pairs.begin, kChunk, s_.values + pairs.begin / 2 * s_.wide,
                       Vec::kLanes, s_.wide, (pairs.end - pairs.begin) / 2, s_.wide / Vec::kLanes,
                       s_.part, s_.wide);
#endif
  }

  void finish(const QueryBlock& b, int64_t row, const float* sums, Part state) const {
    with_activation_type(p_.out.dtype(), [&](auto* type) {
      using O = std::remove_pointer_t<decltype(type)>;
      O* to = row_of<O>(p_.out, b, row);
      const Vec inverse = splat(1.0f / state.sum);
      for_lanes(p_.dim(),
                [&](int64_t i, int n) { store_some(to + i, load(sums + i) * inverse, n); });
    });
    if (p_.lse.defined()) {
      const int64_t n = b.sequence.query_begin + query(b, row);
      p_.lse.template data<float>()[n * p_.heads() + b.kv_head * p_.group() + row % p_.group()] =
          state.highest / kLog2E + std::log(state.sum);
    }
  }

  const AttentionProblem& p_;
  ForwardScratch s_;
};

// Items are (sequence, kv head, block of queries), later blocks first: causal ones cost most.
template <typename T, typename F>
void forward_blocks(const ExecutionContext& ctx, const AttentionProblem& p) {
  const int64_t queries = ForwardScratch::block_queries(p);
  const int64_t blocks = (p.max_length + queries - 1) / queries;
  const int64_t floats = round_up(ForwardScratch::floats(p), 16);
  const Tensor scratch = ctx.make(Dtype::f32, {ctx.pool->threads(), floats});
  run_items(*ctx.pool, p.sequences * p.kv_heads() * blocks, [&](int64_t worker, int64_t item) {
    const int64_t first = (blocks - 1 - item / (p.sequences * p.kv_heads())) * queries;
    const KeySequence s = p.sequence(item / p.kv_heads() % p.sequences);
    if (first < s.length) {
      Forward<T, F>(p, scratch.data<float>() + worker * floats)
          .run({s, item % p.kv_heads(), first, std::min(first + queries, s.length)});
    }
  });
}

inline int64_t chunk_count(const AttentionProblem& p) {
  return (p.max_keys + kChunk - 1) / kChunk;
}
inline int64_t part_floats(const AttentionProblem& p) {
  return round_up(p.dim(), Vec::kLanes) + 16;  // sums, highest, sum
}

// Key heads whose scores are kept at once.
inline int64_t heads_at_once(const AttentionProblem& p) {
  return std::clamp<int64_t>(kRowsAtOnce / (p.max_length * p.group()), 1, p.kv_heads());
}
template <typename F>
int64_t few_floats([[maybe_unused]] const AttentionProblem& p) {
#if defined(OB_ISA_AVX512)
  if constexpr (std::is_same_v<F, Bf16>) {
    return FewScratch::floats(heads_at_once(p) * p.max_length * p.group(), p.dim(), kChunk);
  }
#endif
  return 0;
}
#if defined(OB_ISA_AVX512)
template <typename Forward, typename PartOf>
void run_heads(Forward& forward, const AttentionProblem& p, QueryBlock block, int64_t end,
               int64_t c, float* scratch, const PartOf& part_of) {
  const FewScratch few(heads_at_once(p) * p.max_length * p.group(), p.dim(), kChunk, scratch);
  for (; block.kv_head < end; block.kv_head += heads_at_once(p)) {
    forward.run_chunk_of_pairs(block, std::min(block.kv_head + heads_at_once(p), end), c, few,
                               part_of);
  }
}
#endif

// Items are the chunks of a sequence, merged afterwards: for few queries over many keys. The key
// heads of a chunk follow each other, as they stand side by side in memory (one row over 4,096 f32
// keys: 0.41 instead of 0.52 ms), and are items of their own only where threads would lack work.
template <typename T, typename F>
void forward_chunks(const ExecutionContext& ctx, const AttentionProblem& p) {
  const int64_t chunks = chunk_count(p);
  const int64_t threads = ctx.pool->threads();
  const int64_t few = few_floats<F>(p);
  const int64_t floats = round_up(ForwardScratch::floats(p) + few, 16);
  const Tensor scratch = ctx.make(Dtype::f32, {threads, floats});
  const Tensor parts = ctx.make(Dtype::f32, {p.q.dim(0) * p.heads(), chunks, part_floats(p)});
  const auto run = [&](int64_t worker, int64_t sequence, int64_t kv_head, const auto& fn) {
    const KeySequence s = p.sequence(sequence);
    if (s.length == 0) {
      return;
    }
    const auto part_of = [&](int64_t head, int64_t row, int64_t c) {
      const int64_t query = s.query_begin + row / p.group();
      const int64_t at = query * p.heads() + head * p.group() + row % p.group();
      return parts.data<float>() + (at * chunks + c) * part_floats(p);
    };
    Forward<T, F> forward(p, scratch.data<float>() + worker * floats);
    fn(forward, QueryBlock{s, kv_head, 0, s.length}, part_of);
  };
  const int64_t splits = p.sequences * chunks < 2 * threads ? p.kv_heads() : 1;
  const int64_t heads = p.kv_heads() / splits;
  run_items(*ctx.pool, p.sequences * chunks * splits, [&](int64_t worker, int64_t item) {
    const int64_t c = item / splits % chunks;
    const int64_t first = item % splits * heads;
    run(worker, item / splits / chunks, first, [&](auto& forward, const auto& b, const auto& of) {
      const Span there = forward.chunks(b);
      if (c >= there.begin && c < there.end) {
        if constexpr (std::is_same_v<F, Bf16>) {
          run_heads(forward, p, b, first + heads, c,
                    scratch.data<float>() + (worker + 1) * floats - few, of);
        } else {
          forward.run_chunk(b, first + heads, c, of);
        }
      }
    });
  });
  const auto merge = [&](int64_t worker, int64_t item) {
    run(worker, item / p.kv_heads(), item % p.kv_heads(),
        [&](auto& forward, const auto& b, const auto& of) { forward.merge(b, of); });
  };
  constexpr int64_t kFewParts = 64;  // 2 µs, as long as a thread takes to begin
  if (p.q.dim(0) * p.heads() * chunks > kFewParts) {
    return run_items(*ctx.pool, p.sequences * p.kv_heads(), merge);
  }
  for (int64_t item = 0; item < p.sequences * p.kv_heads(); ++item) {
    merge(0, item);
  }
}

template <typename T, typename F>
void forward_as(const ExecutionContext& ctx, const AttentionProblem& p) {
  backend::ArenaScope scope(*ctx.arena);
  constexpr int64_t kMostPartFloats = int64_t{1} << 22;  // 16 MiB of the arena
  const int64_t most_rows = std::is_same_v<F, Bf16> ? kSplitRows : kNarrowRows;
  const int64_t part_rows = p.q.dim(0) * p.heads() * chunk_count(p);
  const bool is_decode = p.max_length * p.group() <= most_rows && p.max_keys > kChunk &&
                         part_rows * part_floats(p) <= kMostPartFloats;
  is_decode ? forward_chunks<T, F>(ctx, p) : forward_blocks<T, F>(ctx, p);
}

template <typename T>
void forward(const ExecutionContext& ctx, const AttentionProblem& p) {
#if defined(OB_ISA_AVX512)
  if (ctx.compute == Compute::bf16 && has_quick_pairs()) {
    return forward_as<T, Bf16>(ctx, p);
  }
#endif
  forward_as<T, float>(ctx, p);
}

}  // namespace offbook::ops::OB_ISA
