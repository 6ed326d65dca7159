// For the reference implementations: any float element as a double, whatever its type and strides.
#pragma once
#include "src/base/error.h"
#include "src/base/float16.h"
#include "src/tensor/tensor.h"

namespace offbook::ops::ref {

template <typename... Index>
std::byte* address(const Tensor& t, Index... index) {
  OB_CHECK(static_cast<int>(sizeof...(index)) == t.rank());
  int axis = 0;
  int64_t offset = 0;
  ((offset += static_cast<int64_t>(index) * t.stride(axis++)), ...);
  return t.raw() + offset * dtype_info(t.dtype()).block_bytes;
}

// Element of an f32, bf16 or f16 tensor.
template <typename... Index>
double get(const Tensor& t, Index... index) {
  const std::byte* at = address(t, index...);
  switch (t.dtype()) {
    case Dtype::f32:
      return *reinterpret_cast<const float*>(at);
    case Dtype::bf16:
      return to_float(*reinterpret_cast<const Bf16*>(at));
    case Dtype::f16:
      return to_float(*reinterpret_cast<const F16*>(at));
    default:
      OB_CHECK(!"float tensor");
  }
  return 0;
}

template <typename... Index>
void set(const Tensor& t, double value, Index... index) {
  std::byte* at = address(t, index...);
  switch (t.dtype()) {
    case Dtype::f32:
      *reinterpret_cast<float*>(at) = static_cast<float>(value);
      return;
    case Dtype::bf16:
      *reinterpret_cast<Bf16*>(at) = to_bf16(static_cast<float>(value));
      return;
    default:
      OB_CHECK(!"f32 or bf16 tensor");
  }
}

template <typename... Index>
int32_t get_i32(const Tensor& t, Index... index) {
  OB_CHECK(t.dtype() == Dtype::i32);
  return *reinterpret_cast<const int32_t*>(address(t, index...));
}

}  // namespace offbook::ops::ref
