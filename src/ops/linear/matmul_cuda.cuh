// Products of tensors through cuBLASLt, with factors brought to one type.
#pragma once
#include "src/backend/cuda/gemm.h"
#include "src/ops/cuda/launch.cuh"

namespace offbook::ops::cuda {

using backend::Transpose;

// The type in which the factors of a product are multiplied.
Dtype factor_dtype(const ExecutionContext& ctx);

// A factor [rows, cols] as f32 or bf16 rows in memory that cuBLASLt reads well: the tensor itself,
// or a converted copy in ctx's arena.
Tensor as_factor(const ExecutionContext& ctx, const Tensor& t);

// c (+)= alpha · op(a) op(b), row-major, rows maybe strided; a and b as as_factor gives them.
struct Product {
  Tensor a;
  Transpose transpose_a = Transpose::no;
  Tensor b;
  Transpose transpose_b = Transpose::no;
  float alpha = 1.0f;
  Write write = Write::overwrite;
  Tensor c;
  Tensor addend;  // of c's type and shape: c = … + addend; or undefined
};
void multiply(const ExecutionContext& ctx, const Product& product);

}  // namespace offbook::ops::cuda
