#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/dequantize/codec_cpu.h"
#include "src/ops/simd.h"

// Compiled with -ffp-contract=off: q · scale + minimum rounds twice, as it does in llama.cpp.
namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kValuesPerTask = 1 << 16;  // about 20 µs

#if defined(OB_ISA_AVX512)
inline Vec from_bytes(__m128i q) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(q))};
}
inline Vec from_halves(const F16* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
#else
inline Vec from_bytes(__m128i q) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(q))};
}
inline Vec from_halves(const F16* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
#endif

// 16 values of a group.
template <typename C, typename T>
inline void store_half(__m128i q, float scale, float minimum, T* to) {
  for (int i = 0; i < 16; i += Vec::kLanes) {
    Vec v = (from_bytes(i == 0 ? q : _mm_srli_si128(q, 8)) - splat(C::kOffset)) * splat(scale);
    if constexpr (C::kMinimum) {
      v = v + splat(minimum);
    }
    store(to + i, v);
  }
}

template <typename C, typename T>
void decode_blocks(C, const uint8_t* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; i += C::kGroups * 32, from += C::kBytes) {
#pragma GCC unroll 8
    for (int g = 0; g < C::kGroups; ++g) {
      const Group group = C::group(from, g);
      T* at = to + i + g * 32;
      store_half<C>(_mm256_castsi256_si128(group.q), group.scale[0], group.minimum, at);
      store_half<C>(_mm256_extracti128_si256(group.q, 1), group.scale[1], group.minimum, at + 16);
    }
  }
}

template <typename T>
void decode_plain(Dtype dtype, const std::byte* from, int64_t count, T* to) {
  if (dtype == Dtype::f16) {
    const auto* halves = reinterpret_cast<const F16*>(from);
    int64_t i = 0;
    for (; i + Vec::kLanes <= count; i += Vec::kLanes) {
      store(to + i, from_halves(halves + i));
    }
    for (; i < count; ++i) {
      const float value = to_float(halves[i]);
      if constexpr (std::is_same_v<T, float>) {
        to[i] = value;
      } else {
        to[i] = to_bf16(value);
      }
    }
    return;
  }
  with_activation_type(dtype, [&](auto* type) {
    const auto* values = reinterpret_cast<const std::remove_pointer_t<decltype(type)>*>(from);
    for_lanes(count, [&](int64_t i, int n) { store_some(to + i, load_some(values + i, n), n); });
  });
}

template <typename T>
void decode_any(Dtype dtype, const std::byte* from, int64_t count, T* to) {
  if (!is_quantised(dtype)) {
    decode_plain(dtype, from, count, to);
    return;
  }
  with_codec(dtype, [&](auto codec) {
    decode_blocks(codec, reinterpret_cast<const uint8_t*>(from), count, to);
  });
}

}  // namespace

void decode(Dtype dtype, const std::byte* from, int64_t count, float* to) noexcept {
  decode_any(dtype, from, count, to);
}

void decode(Dtype dtype, const std::byte* from, int64_t count, Bf16* to) noexcept {
  decode_any(dtype, from, count, to);
}

void dequantize(const ExecutionContext& ctx, const DequantizeArgs& a) {
  const int64_t cols = a.x.dim(1);
  const int64_t rows_per_task = std::max<int64_t>(1, kValuesPerTask / std::max<int64_t>(1, cols));
  with_activation_type(a.out.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    ctx.pool->parallel_for(a.x.dim(0), rows_per_task, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        decode(a.x.dtype(), a.x.row_raw(r), cols, a.out.data<T>() + r * cols);
      }
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
