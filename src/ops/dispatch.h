// From run-time element types to template arguments, and rows of strided tensors; for kernels.
#pragma once
#include <type_traits>

#include "src/base/error.h"
#include "src/base/float16.h"
#include "src/tensor/tensor.h"

namespace offbook::ops {

// Calls fn with a null pointer of the activation type: float* or Bf16*.
template <typename Fn>
void with_activation_type(Dtype dtype, const Fn& fn) {
  if (dtype == Dtype::f32) {
    fn(static_cast<float*>(nullptr));
  } else {
    OB_CHECK(dtype == Dtype::bf16);
    fn(static_cast<Bf16*>(nullptr));
  }
}

inline bool is_activation(const Tensor& t) { return t.dtype() == Dtype::f32 || t.dtype() == Dtype::bf16; }

// A tensor of rank 1…3 as rows along its last axis (stride 1 there): row r of [a, b, dim] is (r / b, r % b).
class Rows {
 public:
  explicit Rows(const Tensor& t)
      : base_(t.raw()),
        elem_bytes_(dtype_info(t.dtype()).block_bytes),
        count_(t.dim(-1) == 0 ? 0 : t.numel() / t.dim(-1)),
        dim_(t.dim(-1)) {
    OB_CHECK(t.rank() >= 1 && t.rank() <= 3 && !is_quantised(t.dtype()));
    OB_CHECK(dim_ <= 1 || t.stride(-1) == 1);
    inner_ = t.rank() == 3 ? t.dim(1) : 1;
    inner_ = inner_ == 0 ? 1 : inner_;
    outer_stride_ = t.rank() >= 2 ? t.stride(0) : 0;
    inner_stride_ = t.rank() == 3 ? t.stride(1) : 0;
  }
  int64_t count() const { return count_; }
  int64_t dim() const { return dim_; }
  template <typename T>
  T* row(int64_t r) const {
    const int64_t offset = r / inner_ * outer_stride_ + r % inner_ * inner_stride_;
    return reinterpret_cast<T*>(base_ + offset * elem_bytes_);
  }

 private:
  std::byte* base_;
  int64_t elem_bytes_;
  int64_t count_;
  int64_t dim_;
  int64_t inner_ = 1;
  int64_t outer_stride_ = 0;
  int64_t inner_stride_ = 0;
};

}  // namespace offbook::ops
