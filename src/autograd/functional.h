// Operations as functions of tensors, for model code: each makes its output, runs the operation
// and, when the graph has a tape and an input is differentiable, records the gradient. Shapes,
// types and errors are those of the operations in src/ops. Inputs that stand in the arena stay
// alive with it.
#pragma once
#include "src/autograd/tape.h"
#include "src/ops/attention/attention.h"
#include "src/ops/cross_entropy/cross_entropy.h"
#include "src/ops/rope/rope.h"

namespace offbook::autograd {

// [n] ids → [n, hidden] of type `dtype`. Differentiable in an f32 table.
Tensor embedding(const Graph& g, const Tensor& ids, const Tensor& table, Dtype dtype);

Tensor rms_norm(const Graph& g, const Tensor& x, const Tensor& weight, float eps);
// The same into (part of) a tensor that was made by g.make.
void rms_norm_into(const Graph& g, const Tensor& x, const Tensor& weight, float eps,
                   const Tensor& out);

// x weightᵀ + bias; differentiable in x, and in weight and bias where they are watched.
Tensor linear(const Graph& g, const Tensor& x, const Tensor& weight, const Tensor& bias);
// y += alpha · x weightᵀ in place.
void linear_into(const Graph& g, const Tensor& x, const Tensor& weight, float alpha,
                 const Tensor& y);

Tensor add(const Graph& g, const Tensor& a, const Tensor& b);
Tensor swiglu(const Graph& g, const Tensor& gate, const Tensor& up);
void swiglu_into(const Graph& g, const Tensor& gate, const Tensor& up, const Tensor& out);
// Rotates [n, heads, dim] by rows of a rope_table.
Tensor rope(const Graph& g, const Tensor& x, const Tensor& table);

// The same where x stands, which nobody reads before it was turned but by copying.
void rope_in_place(const Graph& g, const Tensor& x, const Tensor& table);

// `args` without out and lse; → [n, heads, dim].
Tensor attention(const Graph& g, ops::AttentionArgs args);
// The same into args.out, (part of) a tensor that was made by g.make.
void attention_into(const Graph& g, ops::AttentionArgs args);

// Whether an index may name a row more than once.
enum class Places : uint8_t { may_repeat, distinct };

// out[i] = x[index[i]].
Tensor gather_rows(const Graph& g, const Tensor& x, const Tensor& index,
                   Places places = Places::may_repeat);
// out[index[i]] = x[i] in a tensor that was made by g.make; rows of different calls must not
// repeat.
void scatter_rows(const Graph& g, const Tensor& x, const Tensor& index, const Tensor& out);
Tensor segment_mean(const Graph& g, const Tensor& x, const Tensor& offsets, int64_t segments);
// row + scale · x[i].
Tensor affine_rows(const Graph& g, const Tensor& x, const Tensor& scale, const Tensor& row);
// [a; b] along the first axis.
Tensor concat_rows(const Graph& g, const Tensor& a, const Tensor& b);

// f32 [n] losses of `hidden` against targets (−1: none). Seed their gradient with Tape::target.
Tensor linear_cross_entropy(const Graph& g, const Tensor& hidden, const Tensor& head,
                            const Tensor& targets);

}  // namespace offbook::autograd
