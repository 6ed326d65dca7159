// Linear maps of a decoder layer in training passes on a GPU, several operations as one node of the
// tape: what stands between them is not kept for backward, or not even written.
#pragma once
#include <span>
#include <vector>

#include "src/autograd/tape.h"

namespace offbook::autograd {

// residual + x weightᵀ + bias in one product; differentiable in x, the residual and, where they are
// watched, weight and bias. Where nothing else asks for the gradient of the result, the residual
// takes it over without a copy.
Tensor linear_onto(const Graph& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const Tensor& residual);

// rms_norm(x) weightᵀ + bias; the normed rows are not kept. Differentiable in x alone.
Tensor normed_linear(const Graph& g, const Tensor& x, const Tensor& norm, float eps,
                     const Tensor& weight, const Tensor& bias);

// Whether a result is read, or only stands for its gradient (a layer that runs again in backward).
enum class Value : uint8_t { made, unused };

// residual + swiglu(gate, up) weightᵀ; the gated rows are not kept but made again in backward where
// the weight is watched. gate and up are halves of one tensor that feed nothing else.
// Differentiable in gate, up, residual and weight.
Tensor gated_onto(const Graph& g, const Tensor& gate, const Tensor& up, const Tensor& weight,
                  const Tensor& residual, Value value = Value::made);

// A matrix (or several that read one input, their rows one behind the other) and the factors beside
// it.
struct AdaptedMatrix {
  Tensor weight;   // [out, in], f32 or bf16
  Tensor bias;     // [out] or undefined
  Tensor readers;  // [rank in sum, in], f32: the factors that read, one behind the other
  std::vector<Tensor>
      writers;  // [rows of a part, its rank], f32; rows and ranks add up to out and rank
  float scale = 1;
  Tensor residual;  // [n, out], added to the result; or undefined
};

// Columns that the input of an adapted matrix needs beside its own.
int64_t columns_beside(const AdaptedMatrix& m);

// x weightᵀ + bias + scale · (x readersᵀ) writersᵀ (+ residual), as ONE product: `wide` is a tensor
// of its own, [n, in + columns_beside], that holds x in its first columns; the low-rank values go
// into the others, and the factors that write stand beside the matrix as columns of their own. A
// product of rank 64 that adds to its output is bound by that output's traffic; columns cost only
// their arithmetic. Differentiable in x, readers and writers.
Tensor adapted_linear(const Graph& g, const Tensor& wide, const AdaptedMatrix& m);

}  // namespace offbook::autograd
