#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "src/ops/cross_entropy/targets.h"
#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/gemm/gemm.h"
#include "src/ops/registry.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/linear/convert_cpu.h"
#include "src/ops/simd.h"

// Rows come in chunks, the vocabulary in tiles, in order: a tile of the head is decoded once for a
// chunk, then every block of rows multiplies it. Blocks are independent of each other, so results
// do not depend on the number of threads. docs/derivations/cross_entropy.md.
//
// long because three walks share the tiles: losses, gradients, and both at once.
namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kPieceBytes = 3 << 20;  // of hidden rows, of head rows, of d_hidden sums
constexpr int64_t kMostRows = 1024;       // with kMostVocab: 3 MiB of logits
constexpr int64_t kMostVocab = 768;
constexpr int64_t kBlockRows = 128;
constexpr int64_t kDecodeRows = 64;

int64_t bytes_of(Dtype dtype) {
  return dtype_info(dtype).block_bytes;
}

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// How many rows of `dim` values of 4 or 2 bytes fit a piece.
int64_t rows_in_piece(int64_t dim, int64_t value_bytes, int64_t most) {
  return std::clamp<int64_t>(kPieceBytes / (dim * value_bytes) / 64 * 64, 64, most);
}

// A chunk of rows against a tile of the vocabulary, and scratch for both.
class Chunks {
 public:
  Chunks(const ExecutionContext& ctx, const LinearCrossEntropyArgs& args)
      : ctx_(ctx),
        args_(args),
        type_(factor_type(ctx.compute)),
        dim_(args.hidden.dim(1)),
        most_rows_(std::min(args.hidden.dim(0), rows_in_piece(dim_, 4, kMostRows))),
        most_vocab_(std::min(args.head.dim(0), rows_in_piece(dim_, bytes_of(type_), kMostVocab))),
        decoded_(ctx.make(Dtype::u8, {tile_bytes(args.head, type_, most_vocab_, dim_)})),
        logits_(ctx.make(Dtype::f32, {most_rows_, most_vocab_})) {}

  Dtype type() const { return type_; }
  int64_t dim() const { return dim_; }
  int64_t chunks() const { return ceil_div(args_.hidden.dim(0), most_rows_); }
  int64_t tiles() const { return ceil_div(args_.head.dim(0), most_vocab_); }
  int64_t most_rows() const { return most_rows_; }
  int64_t most_vocab() const { return most_vocab_; }
  int64_t first_row() const { return first_row_; }
  int64_t rows() const { return hidden_.dim(0); }
  int64_t first_word() const { return first_word_; }
  int64_t words() const { return words_; }
  const Tensor& hidden() const { return hidden_; }
  const Tile& head() const { return head_; }
  float* logits(int64_t row) const { return logits_.data<float>() + row * most_vocab_; }
  int64_t blocks() const { return ceil_div(rows(), kBlockRows); }

  // Memory of the chunk before is given back by the caller's scope.
  void set_chunk(int64_t chunk) {
    first_row_ = chunk * most_rows_;
    const int64_t end = std::min(args_.hidden.dim(0), first_row_ + most_rows_);
    hidden_ = in_type(ctx_, args_.hidden.slice(0, first_row_, end), type_);
  }

  void set_tile(int64_t tile) {
    first_word_ = tile * most_vocab_;
    words_ = std::min(most_vocab_, args_.head.dim(0) - first_word_);
    if (args_.head.dtype() == type_) {
      head_ = {args_.head.row_raw(first_word_), args_.head.stride(0)};
      return;
    }
    ctx_.pool->parallel_for(words_, kDecodeRows, [&](int64_t begin, int64_t end) {
      weight_tile(args_.head, type_,
                  {.row = first_word_ + begin, .rows = end - begin, .col = 0, .cols = dim_},
                  decoded_.raw() + begin * dim_ * bytes_of(type_));
    });
    head_ = {decoded_.raw(), dim_};
  }

  // logits[row, word] of a block of rows.
  void multiply(int64_t row, int64_t rows) const {
    gemm({.m = rows,
          .n = words_,
          .k = dim_,
          .in = type_,
          .a = hidden_.row_raw(row),
          .lda = hidden_.stride(0),
          .b = head_.data,
          .ldb = head_.ld,
          .b_is_transposed = true,
          .c = logits(row),
          .ldc = most_vocab_});
  }

  // Calls fn(first row in the chunk, rows) for every block, on the pool, after its logits are
  // there.
  template <typename Fn>
  void for_blocks(const Fn& fn) const {
    ctx_.pool->run(blocks(), [&](int64_t block) {
      const int64_t row = block * kBlockRows;
      const int64_t count = std::min(kBlockRows, rows() - row);
      multiply(row, count);
      fn(row, count);
    });
  }

 private:
  const ExecutionContext& ctx_;
  const LinearCrossEntropyArgs& args_;
  Dtype type_;
  int64_t dim_;
  int64_t most_rows_;
  int64_t most_vocab_;
  Tensor decoded_;
  Tensor logits_;
  Tensor hidden_;
  Tile head_{};
  int64_t first_row_ = 0;
  int64_t first_word_ = 0;
  int64_t words_ = 0;
};

// What is known of a row's softmax after some tiles.
struct Softmax {
  float top = -INFINITY;
  float sum = 0;  // of e^(logit − top)
  float target = 0;
};

void extend(Softmax& s, const float* logits, int64_t words) {
  Vec tops = splat(-INFINITY);
  int64_t i = 0;
  for (; i + Vec::kLanes <= words; i += Vec::kLanes) {
    tops = max(tops, load(logits + i));
  }
  float top = std::max(s.top, highest(tops));
  for (; i < words; ++i) {
    top = std::max(top, logits[i]);
  }
  Vec sums = zero();
  for (i = 0; i + Vec::kLanes <= words; i += Vec::kLanes) {
    sums = sums + exp(load(logits + i) - splat(top));
  }
  float rest = 0;
  for (; i < words; ++i) {
    rest += std::exp(logits[i] - top);
  }
  s.sum = s.sum * std::exp(s.top - top) + sum(sums) + rest;
  s.top = top;
}

// d_loss · (softmax − onehot) of one row's logits, over them or as bf16.
template <typename D>
void gradient_row(const float* logits, float lse, float d_loss, int64_t words, D* to) {
  for_lanes(words, [&](int64_t i, int n) {
    store_some(to + i, exp(load_some(logits + i, n) - splat(lse)) * splat(d_loss), n);
  });
}

// d[row, word] of a block in the type of factors, times the tile of the head, summed over tiles.
void add_to_input(const Chunks& chunks, int64_t rows, const std::byte* d, float* to, int64_t step,
                  bool is_added) {
  gemm({.m = rows,
        .n = chunks.dim(),
        .k = chunks.words(),
        .in = chunks.type(),
        .a = d,
        .lda = chunks.most_vocab(),
        .b = chunks.head().data,
        .ldb = chunks.head().ld,
        .c = to,
        .ldc = step,
        .is_accumulated = is_added});
}

class Backward {
 public:
  Backward(const ExecutionContext& ctx, const LinearCrossEntropyBackwardArgs& args, Chunks& chunks)
      : ctx_(ctx), args_(args), chunks_(chunks), is_bf16_(chunks.type() == Dtype::bf16) {
    if (is_bf16_) {
      d_logits_ = ctx.make(Dtype::bf16, {chunks.most_rows(), chunks.most_vocab()});
    }
    if (args.d_hidden.dtype() == Dtype::bf16) {
      sums_ = ctx.make(Dtype::f32, {chunks.most_rows(), chunks.dim()});
    }
  }

  void tile(bool is_first) {
    chunks_.for_blocks([&](int64_t row, int64_t rows) {
      for (int64_t r = row; r < row + rows; ++r) {
        gradient(r);
      }
      input_gradient(row, rows, is_first);
    });
    if (args_.d_head.defined()) {
      head_gradient();
    }
  }

  // After the last tile of a chunk.
  void finish_chunk() {
    if (!sums_.defined()) {
      return;
    }
    for (int64_t r = 0; r < chunks_.rows(); ++r) {
      auto* to = reinterpret_cast<Bf16*>(args_.d_hidden.row_raw(chunks_.first_row() + r));
      for_lanes(chunks_.dim(), [&](int64_t i, int n) {
        Vec v = load_some(sums_.data<float>() + r * chunks_.dim() + i, n);
        if (args_.write == Write::accumulate) {
          v = v + load_some(to + i, n);
        }
        store_some(to + i, v, n);
      });
    }
  }

 private:
  // Row r of the chunk: d_logits.
  std::byte* d_logits(int64_t r) const {
    return is_bf16_ ? d_logits_.row_raw(r) : reinterpret_cast<std::byte*>(chunks_.logits(r));
  }

  void gradient(int64_t r) const {
    const int64_t row = chunks_.first_row() + r;
    const int32_t target = args_.forward.targets.data<int32_t>()[row];
    const float d_loss = target < 0 ? 0.0f : args_.d_losses.data<float>()[row];
    const float lse = args_.forward.lse.data<float>()[row];
    const int64_t at = target - chunks_.first_word();
    const bool is_here = target >= 0 && at >= 0 && at < chunks_.words();
    const float of_target =
        is_here ? (std::exp(chunks_.logits(r)[at] - lse) - 1.0f) * d_loss : 0.0f;
    with_activation_type(chunks_.type(), [&](auto* type) {
      auto* to = reinterpret_cast<decltype(type)>(d_logits(r));
      gradient_row(chunks_.logits(r), lse, d_loss, chunks_.words(), to);
      if (is_here) {
        if constexpr (std::is_same_v<decltype(type), float*>) {
          to[at] = of_target;
        } else {
          to[at] = to_bf16(of_target);
        }
      }
    });
  }

  void input_gradient(int64_t row, int64_t rows, bool is_first) const {
    const bool in_scratch = sums_.defined();
    const Tensor& to = in_scratch ? sums_ : args_.d_hidden;
    float* const first =
        reinterpret_cast<float*>(to.row_raw(in_scratch ? row : chunks_.first_row() + row));
    add_to_input(chunks_, rows, d_logits(row), first, to.stride(0),
                 !is_first || (!in_scratch && args_.write == Write::accumulate));
  }

  void head_gradient() const {
    ctx_.pool->parallel_for(chunks_.words(), kBlockRows, [&](int64_t begin, int64_t end) {
      gemm({.m = end - begin,
            .n = chunks_.dim(),
            .k = chunks_.rows(),
            .in = chunks_.type(),
            .a = d_logits(0) + begin * bytes_of(chunks_.type()),
            .lda = chunks_.most_vocab(),
            .a_is_transposed = true,
            .b = chunks_.hidden().raw(),
            .ldb = chunks_.hidden().stride(0),
            .c = args_.d_head.row_raw(chunks_.first_word() + begin),
            .ldc = args_.d_head.stride(0),
            .is_accumulated = true});
    });
  }

  const ExecutionContext& ctx_;
  const LinearCrossEntropyBackwardArgs& args_;
  Chunks& chunks_;
  bool is_bf16_;
  Tensor d_logits_;
  Tensor sums_;
};

void write_losses(const LinearCrossEntropyArgs& a, const Softmax* softmax, int64_t first_row,
                  int64_t rows) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = first_row + r;
    const float lse = softmax[r].top + std::log(softmax[r].sum);
    a.losses.data<float>()[row] =
        a.targets.data<int32_t>()[row] < 0 ? 0.0f : lse - softmax[r].target;
    if (a.lse.defined()) {
      a.lse.data<float>()[row] = lse;
    }
  }
}

// Losses and their gradients in one walk, as attention sums values while it learns the largest
// score (FlashAttention, arXiv 2205.14135): rows of the head are keys and values.
class Both {
 public:
  Both(const ExecutionContext& ctx, const LinearCrossEntropyArgs& args, Chunks& chunks,
       Softmax* softmax)
      : args_(args),
        chunks_(chunks),
        softmax_(softmax),
        sums_(ctx.make(Dtype::f32, {chunks.most_rows(), chunks.dim()})) {
    if (chunks.type() == Dtype::bf16) {
      weights_ = ctx.make(Dtype::bf16, {chunks.most_rows(), chunks.most_vocab()});
    }
  }

  void tile(bool is_first) {
    chunks_.for_blocks([&](int64_t row, int64_t rows) {
      for (int64_t r = row; r < row + rows; ++r) {
        weigh(r, is_first);
      }
      add_to_input(chunks_, rows, weights(row), sums(row), chunks_.dim(), !is_first);
    });
  }

  // After the last tile of a chunk: (Σ weights · head rows) / their sum, less the target's row.
  void finish_chunk(const ExecutionContext& ctx) const {
    constexpr int64_t kRows = 16;
    ctx.pool->parallel_for(chunks_.rows(), kRows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        finish_row(r);
      }
    });
  }

 private:
  std::byte* weights(int64_t r) const {
    return weights_.defined() ? weights_.row_raw(r)
                              : reinterpret_cast<std::byte*>(chunks_.logits(r));
  }
  float* sums(int64_t r) const { return sums_.data<float>() + r * chunks_.dim(); }
  int32_t target(int64_t r) const { return args_.targets.data<int32_t>()[chunks_.first_row() + r]; }

  // Turns a row's logits into e^(logit - highest so far), the target's into 0: it is added at the
  // end, exactly.
  void weigh(int64_t r, bool is_first) const {
    const float* const logits = chunks_.logits(r);
    Softmax& s = softmax_[r];
    const int64_t at = target(r) - chunks_.first_word();
    const bool is_here = target(r) >= 0 && at >= 0 && at < chunks_.words();
    s.target = is_here ? logits[at] : s.target;
    const float top = std::max(s.top, highest_of(logits, chunks_.words()));
    if (!is_first && top > s.top) {
      const Vec factor = splat(std::exp(s.top - top));
      s.sum *= std::exp(s.top - top);
      for_lanes(chunks_.dim(), [&](int64_t i, int n) {
        store_some(sums(r) + i, load_some(sums(r) + i, n) * factor, n);
      });
    }
    s.top = top;
    with_activation_type(chunks_.type(), [&](auto* type) {
      auto* const to = reinterpret_cast<decltype(type)>(weights(r));
      s.sum += weigh_row(logits, top, chunks_.words(), to);
      if (is_here) {
        to[at] = {};
      }
    });
  }

  static float highest_of(const float* logits, int64_t words) {
    Vec tops = splat(logits[0]);
    int64_t i = 0;
    for (; i + Vec::kLanes <= words; i += Vec::kLanes) {
      tops = max(tops, load(logits + i));
    }
    float top = highest(tops);
    for (; i < words; ++i) {
      top = std::max(top, logits[i]);
    }
    return top;
  }

  // The sum is of weights before they are rounded.
  template <typename W>
  static float weigh_row(const float* logits, float top, int64_t words, W* to) {
    Vec sums = zero();
    float rest = 0;
    for_lanes(words, [&](int64_t i, int n) {
      const Vec weight = exp(load_some(logits + i, n) - splat(top));
      store_some(to + i, weight, n);
      if (n == Vec::kLanes) {
        sums = sums + weight;
      } else {
        float lanes[Vec::kLanes];
        store(lanes, weight);
        for (int j = 0; j < n; ++j) {
          rest += lanes[j];
        }
      }
    });
    return sum(sums) + rest;
  }

  void finish_row(int64_t r) const {
    const int64_t row = chunks_.first_row() + r;
    const bool has_target = target(r) >= 0;
    const Softmax& s = softmax_[r];
    const float inverse = has_target ? 1.0f / s.sum : 0.0f;
    const float of_target = has_target ? std::exp(s.target - s.top) / s.sum - 1.0f : 0.0f;
    constexpr int64_t kPiece = 1024;  // whole blocks of any type
    float head[kPiece];
    std::fill(std::begin(head), std::end(head), 0.0f);
    for (int64_t begin = 0; begin < chunks_.dim(); begin += kPiece) {
      const int64_t width = std::min(kPiece, chunks_.dim() - begin);
      if (has_target) {
        const Dtype type = args_.head.dtype();
        decode(type, args_.head.row_raw(target(r)) + dtype_bytes(type, begin), width, head);
      }
      with_activation_type(args_.gradient.dtype(), [&](auto* type) {
        auto* const to = reinterpret_cast<decltype(type)>(args_.gradient.row_raw(row)) + begin;
        for_lanes(width, [&](int64_t i, int n) {
          const Vec sum = load_some(sums(r) + begin + i, n) * splat(inverse);
          store_some(to + i, fma(load_some(head + i, n), splat(of_target), sum), n);
        });
      });
    }
  }

  const LinearCrossEntropyArgs& args_;
  Chunks& chunks_;
  Softmax* softmax_;
  Tensor sums_;
  Tensor weights_;  // where factors are bf16; else they lie over the logits
};

// d_hidden (+)= d_loss · gradient.
void scale_gradient(const ExecutionContext& ctx, const LinearCrossEntropyBackwardArgs& a) {
  constexpr int64_t kRows = 16;
  with_activation_type(a.forward.gradient.dtype(), [&](auto* from_type) {
    with_activation_type(a.d_hidden.dtype(), [&](auto* to_type) {
      ctx.pool->parallel_for(a.d_hidden.dim(0), kRows, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const auto* from = reinterpret_cast<decltype(from_type)>(a.forward.gradient.row_raw(r));
          auto* const to = reinterpret_cast<decltype(to_type)>(a.d_hidden.row_raw(r));
          const Vec d_loss = splat(a.d_losses.data<float>()[r]);
          for_lanes(a.d_hidden.dim(1), [&](int64_t i, int n) {
            Vec v = load_some(from + i, n) * d_loss;
            if (a.write == Write::accumulate) {
              v = v + load_some(to + i, n);
            }
            store_some(to + i, v, n);
          });
        }
      });
    });
  });
}

}  // namespace

void linear_cross_entropy(const ExecutionContext& ctx, const LinearCrossEntropyArgs& a) {
  check_targets(a.targets, a.head.dim(0));
  if (a.hidden.dim(0) == 0) {
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  Chunks chunks(ctx, a);
  const Tensor state =
      ctx.make(Dtype::u8, {chunks.most_rows() * static_cast<int64_t>(sizeof(Softmax))});
  auto* softmax = reinterpret_cast<Softmax*>(state.raw());
  std::optional<Both> both;
  if (a.gradient.defined()) {
    both.emplace(ctx, a, chunks, softmax);
  }
  for (int64_t chunk = 0; chunk < chunks.chunks(); ++chunk) {
    backend::ArenaScope chunk_scope(*ctx.arena);
    chunks.set_chunk(chunk);
    std::uninitialized_fill_n(softmax, chunks.rows(), Softmax{});
    for (int64_t tile = 0; tile < chunks.tiles(); ++tile) {
      chunks.set_tile(tile);
      if (both) {
        both->tile(tile == 0);
        continue;
      }
      chunks.for_blocks([&](int64_t row, int64_t rows) {
        for (int64_t r = row; r < row + rows; ++r) {
          extend(softmax[r], chunks.logits(r), chunks.words());
          const int64_t at =
              a.targets.data<int32_t>()[chunks.first_row() + r] - chunks.first_word();
          if (at >= 0 && at < chunks.words()) {
            softmax[r].target = chunks.logits(r)[at];
          }
        }
      });
    }
    write_losses(a, softmax, chunks.first_row(), chunks.rows());
    if (both) {
      both->finish_chunk(ctx);
    }
  }
}

void linear_cross_entropy_backward(const ExecutionContext& ctx,
                                   const LinearCrossEntropyBackwardArgs& a) {
  check_targets(a.forward.targets, a.forward.head.dim(0));
  if (a.forward.hidden.dim(0) == 0) {
    return;
  }
  if (a.forward.gradient.defined() && !a.d_head.defined()) {
    return scale_gradient(ctx, a);
  }
  backend::ArenaScope scope(*ctx.arena);
  Chunks chunks(ctx, a.forward);
  Backward backward(ctx, a, chunks);
  for (int64_t chunk = 0; chunk < chunks.chunks(); ++chunk) {
    backend::ArenaScope chunk_scope(*ctx.arena);
    chunks.set_chunk(chunk);
    for (int64_t tile = 0; tile < chunks.tiles(); ++tile) {
      chunks.set_tile(tile);
      backward.tile(tile == 0);
    }
    backward.finish_chunk();
  }
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
