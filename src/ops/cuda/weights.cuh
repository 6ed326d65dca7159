// Weights of every type in kernels: groups of eight values out of a row, as f32. The block layouts
// are those of docs/formats/quantised.md; every product here is exact in f32, so the values have
// the same bits as the CPU's.
#pragma once
#include <cuda_fp16.h>

#include "src/ops/cuda/elements.cuh"

namespace offbook::ops::cuda {

inline constexpr int kGroup =
    32;  // values that four threads share; every quantised block is whole groups

__device__ inline float half_at(const uint8_t* p) {
  return __half2float(*reinterpret_cast<const __half*>(p));
}
__device__ inline uint32_t u16_at(const uint8_t* p) {
  return *reinterpret_cast<const uint16_t*>(p);
}
// Four bytes at an address that only has the alignment of two.
__device__ inline uint32_t u32_at(const uint8_t* p) {
  return u16_at(p) | u16_at(p + 2) << 16;
}

// Nibble formats keep values l and l + 16 of a group in one byte: thread t takes 4t…4t+3 and
// 16+4t…. The others give thread t the values 8t…8t+7.
__host__ __device__ constexpr bool splits_groups(Dtype d) {
  return d == Dtype::q4_0 || d == Dtype::q4_1 || d == Dtype::q5_0 || d == Dtype::q5_1;
}
// Place in its group of value j of thread t.
__device__ inline int group_place(bool split, int t, int j) {
  return split ? (j < 4 ? 4 * t + j : 12 + 4 * t + j) : 8 * t + j;
}

__device__ inline void decode_q4(const uint8_t* quants, int t, float scale, float offset,
                                 float (&v)[8]) {
  const uint32_t bytes = u32_at(quants + 4 * t);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    v[j] = static_cast<float>(bytes >> 8 * j & 15) * scale + offset;
    v[j + 4] = static_cast<float>(bytes >> (8 * j + 4) & 15) * scale + offset;
  }
}

__device__ inline void decode_q5(const uint8_t* high, const uint8_t* quants, int t, float scale,
                                 float offset, float (&v)[8]) {
  const uint32_t bits = u32_at(high);
  const uint32_t bytes = u32_at(quants + 4 * t);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const uint32_t low = (bytes >> 8 * j & 15) | (bits >> (4 * t + j) & 1) << 4;
    const uint32_t top = (bytes >> (8 * j + 4) & 15) | (bits >> (16 + 4 * t + j) & 1) << 4;
    v[j] = static_cast<float>(low) * scale + offset;
    v[j + 4] = static_cast<float>(top) * scale + offset;
  }
}

// Scale and minimum number j of a K block: 6 bits each, packed into 12 bytes.
__device__ inline void k_scale(const uint8_t* packed, int j, float& scale, float& minimum) {
  if (j < 4) {
    scale = static_cast<float>(packed[j] & 63);
    minimum = static_cast<float>(packed[j + 4] & 63);
  } else {
    scale = static_cast<float>((packed[j + 4] & 15) | packed[j - 4] >> 6 << 4);
    minimum = static_cast<float>(packed[j + 4] >> 4 | packed[j] >> 6 << 4);
  }
}

// Values of thread t (0…3) in group number `group` of a row; group_place says which they are.
template <Dtype kType>
__device__ inline void load_group(const uint8_t* row, int64_t group, int t, float (&v)[8]) {
  if constexpr (kType == Dtype::q8_0) {
    const uint8_t* block = row + group * 34;
    const float scale = half_at(block);
    const uint32_t words[2] = {u32_at(block + 2 + 8 * t), u32_at(block + 6 + 8 * t)};
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      v[j] = static_cast<float>(static_cast<int8_t>(words[j / 4] >> 8 * (j % 4))) * scale;
    }
  } else if constexpr (kType == Dtype::q4_0) {
    const uint8_t* block = row + group * 18;
    const float scale = half_at(block);
    decode_q4(block + 2, t, scale, -8 * scale, v);
  } else if constexpr (kType == Dtype::q4_1) {
    const uint8_t* block = row + group * 20;
    decode_q4(block + 4, t, half_at(block), half_at(block + 2), v);
  } else if constexpr (kType == Dtype::q5_0) {
    const uint8_t* block = row + group * 22;
    const float scale = half_at(block);
    decode_q5(block + 2, block + 6, t, scale, -16 * scale, v);
  } else if constexpr (kType == Dtype::q5_1) {
    const uint8_t* block = row + group * 24;
    decode_q5(block + 4, block + 8, t, half_at(block), half_at(block + 2), v);
  } else if constexpr (kType == Dtype::q4_k || kType == Dtype::q5_k) {
    constexpr bool kFive = kType == Dtype::q5_k;
    const uint8_t* block = row + group / 8 * (kFive ? 176 : 144);
    const int sub = static_cast<int>(group % 8);
    float scale, minimum;
    k_scale(block + 4, sub, scale, minimum);
    scale *= half_at(block);
    minimum *= half_at(block + 2);
    const uint8_t* quants = block + (kFive ? 48 : 16) + sub / 2 * 32 + 8 * t;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      uint32_t q = quants[j] >> 4 * (sub % 2) & 15;
      if constexpr (kFive) {
        q |= (block[16 + 8 * t + j] >> sub & 1u) << 4;
      }
      v[j] = scale * static_cast<float>(q) - minimum;
    }
  } else if constexpr (kType == Dtype::q6_k) {
    const uint8_t* block = row + group / 8 * 210;
    const int half = static_cast<int>(group % 8) / 4;
    const int quarter = static_cast<int>(group % 4);
    const uint8_t* low = block + half * 64 + quarter % 2 * 32 + 8 * t;
    const uint8_t* high = block + 128 + half * 32 + 8 * t;
    const auto* scales = reinterpret_cast<const int8_t*>(block + 192 + half * 8);
    const float scale = half_at(block + 208) * static_cast<float>(scales[2 * quarter + t / 2]);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int q = (low[j] >> 4 * (quarter / 2) & 15) | (high[j] >> 2 * quarter & 3) << 4;
      v[j] = scale * static_cast<float>(q - 32);
    }
  } else if constexpr (kType == Dtype::bf16) {
    load8(reinterpret_cast<const bf16*>(row) + group * kGroup + 8 * t, v);
  } else if constexpr (kType == Dtype::f32) {
    load8(reinterpret_cast<const float*>(row) + group * kGroup + 8 * t, v);
  } else {
    static_assert(kType == Dtype::f16);
    const uint4 raw = *reinterpret_cast<const uint4*>(row + (group * kGroup + 8 * t) * 2);
    const auto* pairs = reinterpret_cast<const __half2*>(&raw);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float2 pair = __half22float2(pairs[j]);
      v[2 * j] = pair.x;
      v[2 * j + 1] = pair.y;
    }
  }
}

// A weight of any type, its rows maybe strided: for kernels that branch on the type as they run.
struct WeightRows {
  const uint8_t* base;
  int64_t row_bytes;
  int64_t rows;
  int64_t cols;
  Dtype dtype;
  bool aligned;  // load_group may be used for whole groups

  // Values of thread t in the group; past the end of the row they are 0.
  __device__ void get8(int64_t r, int64_t group, int t, float (&v)[8]) const {
    const uint8_t* row = base + r * row_bytes;
    if (aligned && (group + 1) * kGroup <= cols) {
      switch (dtype) {
        case Dtype::f32:
          return load_group<Dtype::f32>(row, group, t, v);
        case Dtype::f16:
          return load_group<Dtype::f16>(row, group, t, v);
        case Dtype::bf16:
          return load_group<Dtype::bf16>(row, group, t, v);
        case Dtype::q8_0:
          return load_group<Dtype::q8_0>(row, group, t, v);
        case Dtype::q4_0:
          return load_group<Dtype::q4_0>(row, group, t, v);
        case Dtype::q4_1:
          return load_group<Dtype::q4_1>(row, group, t, v);
        case Dtype::q5_0:
          return load_group<Dtype::q5_0>(row, group, t, v);
        case Dtype::q5_1:
          return load_group<Dtype::q5_1>(row, group, t, v);
        case Dtype::q4_k:
          return load_group<Dtype::q4_k>(row, group, t, v);
        case Dtype::q5_k:
          return load_group<Dtype::q5_k>(row, group, t, v);
        default:
          return load_group<Dtype::q6_k>(row, group, t, v);
      }
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int64_t i = group * kGroup + 8 * t + j;
      v[j] = i >= cols ? 0.0f : plain(row, i);
    }
  }
  __device__ bool splits() const {
    return splits_groups(dtype);
  }

 private:
  __device__ float plain(const uint8_t* row, int64_t i) const {
    if (dtype == Dtype::f32) {
      return reinterpret_cast<const float*>(row)[i];
    }
    return dtype == Dtype::bf16 ? __bfloat162float(reinterpret_cast<const bf16*>(row)[i])
                                : half_at(row + 2 * i);
  }
};

// Writes what thread t holds of a group to its places in a row of `out`.
__device__ inline void store_group(const RowsOf<Any>& out, const Any& row, bool split,
                                   int64_t group, int t, const float (&v)[8]) {
  const int64_t at = group * kGroup;
  if (out.aligned && at + kGroup <= out.dim) {
    if (split) {
      row.set4(at + 4 * t, v[0], v[1], v[2], v[3]);
      row.set4(at + 16 + 4 * t, v[4], v[5], v[6], v[7]);
    } else {
      row.set8(at + 8 * t, v);
    }
    return;
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int64_t i = at + group_place(split, t, j);
    if (i < out.dim) {
      row.set(i, v[j]);
    }
  }
}

inline WeightRows weight_rows(const Tensor& t) {
  OB_CHECK(t.rank() == 2 && (t.dim(1) <= 1 || t.stride(1) == 1));
  WeightRows out{reinterpret_cast<const uint8_t*>(t.raw()),
                 t.row_stride_bytes(),
                 t.dim(0),
                 t.dim(1),
                 t.dtype(),
                 true};
  const int64_t needs = is_quantised(t.dtype()) ? 2 : 16;
  out.aligned = reinterpret_cast<uintptr_t>(t.raw()) % static_cast<uintptr_t>(needs) == 0 &&
                out.row_bytes % needs == 0;
  OB_REQUIRE(out.aligned || !is_quantised(t.dtype()), InvalidArgument,
             "a {} weight lies at an odd address", dtype_info(t.dtype()).name);
  return out;
}

}  // namespace offbook::ops::cuda
