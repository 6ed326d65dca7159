// Elements of f32 and bf16 tensors in kernels, eight at a time where they are aligned.
#pragma once
#include <cstdint>
#include <initializer_list>

#include <cuda_bf16.h>

#include "src/ops/cuda/launch.cuh"

namespace offbook::ops::cuda {

using bf16 = __nv_bfloat16;

__device__ inline float2 unpack(uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}
__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ inline void unpack8(const uint4& raw, float (&v)[8]) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack(words[i]);
    v[2 * i] = pair.x;
    v[2 * i + 1] = pair.y;
  }
}
__device__ inline uint4 pack8(const float (&v)[8]) {
  return {pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7])};
}

__device__ inline void load8(const float* p, float (&v)[8]) {
  const float4 a = *reinterpret_cast<const float4*>(p);
  const float4 b = *reinterpret_cast<const float4*>(p + 4);
  v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}
__device__ inline void load8(const bf16* p, float (&v)[8]) {
  unpack8(*reinterpret_cast<const uint4*>(p), v);
}
__device__ inline void store8(float* p, const float (&v)[8]) {
  *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
  *reinterpret_cast<float4*>(p + 4) = make_float4(v[4], v[5], v[6], v[7]);
}
__device__ inline void store8(bf16* p, const float (&v)[8]) {
  *reinterpret_cast<uint4*>(p) = pack8(v);
}

// Elements of one type known when compiled.
template <typename T>
struct Typed {
  T* p;
  __device__ float get(int64_t i) const {
    if constexpr (sizeof(T) == 4) {
      return p[i];
    } else {
      return __bfloat162float(p[i]);
    }
  }
  __device__ void set(int64_t i, float x) const {
    if constexpr (sizeof(T) == 4) {
      p[i] = x;
    } else {
      p[i] = __float2bfloat16_rn(x);
    }
  }
  __device__ void get8(int64_t i, float (&v)[8]) const { load8(p + i, v); }
  __device__ void set4(int64_t i, float a, float b, float c, float d) const {
    if constexpr (sizeof(T) == 4) {
      *reinterpret_cast<float4*>(p + i) = make_float4(a, b, c, d);
    } else {
      *reinterpret_cast<uint2*>(p + i) = make_uint2(pack(a, b), pack(c, d));
    }
  }
  __device__ void set8(int64_t i, const float (&v)[8]) const { store8(p + i, v); }
  __host__ __device__ Typed at(int64_t offset) const { return {p + offset}; }
};

// Elements whose type is known when run, for operations whose tensors differ: one uniform branch.
struct Any {
  void* p;
  bool is_bf16;
  __device__ Typed<float> f() const { return {static_cast<float*>(p)}; }
  __device__ Typed<bf16> b() const { return {static_cast<bf16*>(p)}; }
  __device__ float get(int64_t i) const { return is_bf16 ? b().get(i) : f().get(i); }
  __device__ void set(int64_t i, float x) const {
    if (is_bf16) {
      b().set(i, x);
    } else {
      f().set(i, x);
    }
  }
  __device__ void get8(int64_t i, float (&v)[8]) const {
    if (is_bf16) {
      b().get8(i, v);
    } else {
      f().get8(i, v);
    }
  }
  __device__ void set8(int64_t i, const float (&v)[8]) const {
    if (is_bf16) {
      b().set8(i, v);
    } else {
      f().set8(i, v);
    }
  }
  __device__ void set4(int64_t i, float x, float y, float z, float w) const {
    if (is_bf16) {
      b().set4(i, x, y, z, w);
    } else {
      f().set4(i, x, y, z, w);
    }
  }
  __host__ __device__ Any at(int64_t offset) const {
    return {static_cast<std::byte*>(p) + offset * (is_bf16 ? 2 : 4), is_bf16};
  }
};

template <class A>
A elements(const Tensor& t);
template <>
inline Typed<float> elements(const Tensor& t) {
  return {t.data<float>()};
}
template <>
inline Typed<bf16> elements(const Tensor& t) {
  return {t.data<bf16>()};
}
template <>
inline Any elements(const Tensor& t) {
  OB_CHECK(t.dtype() == Dtype::f32 || t.dtype() == Dtype::bf16);
  return {t.raw(), t.dtype() == Dtype::bf16};
}

// Calls fn with an accessor of the type all tensors share, or with Any. Undefined tensors do not
// count.
template <typename Fn>
void with_elements(std::initializer_list<const Tensor*> tensors, const Fn& fn) {
  bool all_f32 = true;
  bool all_bf16 = true;
  for (const Tensor* t : tensors) {
    if (t->defined()) {
      all_f32 = all_f32 && t->dtype() == Dtype::f32;
      all_bf16 = all_bf16 && t->dtype() == Dtype::bf16;
    }
  }
  if (all_bf16) {
    fn(Typed<bf16>{});
  } else if (all_f32) {
    fn(Typed<float>{});
  } else {
    fn(Any{});
  }
}

// A tensor of rank 1…3 as rows along its last axis; row r of [a, b, dim] is (r / b, r % b).
template <class A>
struct RowsOf {
  A base;
  int64_t count;
  int64_t dim;
  int64_t inner;
  int64_t outer_stride;
  int64_t inner_stride;
  bool aligned;  // every group of eight elements lies on 16 bytes, and dim is whole groups

  __device__ A row(int64_t r) const {
    return inner == 1 ? base.at(r * outer_stride)
                      : base.at(r / inner * outer_stride + r % inner * inner_stride);
  }
  // Eight elements from i; those past the end are 0, and are not written.
  __device__ void get8(const A& row, int64_t i, float (&v)[8]) const {
    if (aligned) {
      row.get8(i, v);
      return;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      v[j] = i + j < dim ? row.get(i + j) : 0.0f;
    }
  }
  __device__ void set8(const A& row, int64_t i, const float (&v)[8]) const {
    if (aligned) {
      row.set8(i, v);
      return;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (i + j < dim) {
        row.set(i + j, v[j]);
      }
    }
  }
};

template <class A>
RowsOf<A> rows_of(const Tensor& t) {
  OB_CHECK(t.rank() >= 1 && t.rank() <= 3);
  OB_CHECK(t.dim(-1) <= 1 || t.stride(-1) == 1);
  RowsOf<A> out{elements<A>(t), t.dim(-1) == 0 ? 0 : t.numel() / t.dim(-1), t.dim(-1), 1, 0, 0,
                false};
  if (t.rank() == 2) {
    out.outer_stride = t.stride(0);
  } else if (t.rank() == 3) {
    out.inner = std::max<int64_t>(t.dim(1), 1);
    out.outer_stride = t.stride(0);
    out.inner_stride = t.stride(1);
    if (out.outer_stride == out.inner * out.inner_stride) {  // rows at one distance: no division
      out.outer_stride = out.inner_stride;
      out.inner = 1;
    }
  }
  const auto size = dtype_bytes(t.dtype(), 1);
  out.aligned = t.dim(-1) % 8 == 0 && reinterpret_cast<uintptr_t>(t.raw()) % 16 == 0 &&
                out.outer_stride * size % 16 == 0 && out.inner_stride * size % 16 == 0;
  return out;
}

}  // namespace offbook::ops::cuda
