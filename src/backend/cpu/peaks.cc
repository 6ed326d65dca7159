#include "src/backend/cpu/peaks.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include <immintrin.h>

#include "src/backend/cpu/gemm.h"
#include "src/base/error.h"

namespace offbook::backend {
namespace {

#define OB_PEAK_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16")))
#define OB_PEAK_AVX2 __attribute__((target("avx2,fma")))

constexpr int kRuns = 5;
constexpr int64_t kSteps = 1'000'000;  // 10 ms or so
// Independent sums: 2 units × 4 or 5 cycles of latency.
constexpr int kChains = 12;
constexpr size_t kReadBytes = size_t{128} << 20;  // several times any thread's share of L3

double seconds_of(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

// The empty asm keeps the compiler from computing ahead: it must take x as unknown and used.
#define OB_OPAQUE(x) asm volatile("" : "+v"(x))

// Each runs kSteps rounds of kChains instructions and returns multiplications and additions done.
OB_PEAK_AVX512 double f32_avx512() {
  __m512 sums[kChains] = {};
  __m512 a = _mm512_set1_ps(1e-3f);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (__m512& s : sums) {
      s = _mm512_fmadd_ps(a, a, s);
      OB_OPAQUE(s);
    }
  }
  return 2.0 * 16 * kChains * kSteps;
}

OB_PEAK_AVX512 double bf16_avx512() {
  __m512 sums[kChains] = {};
  __m512i a = _mm512_set1_epi16(0x3a83);
  OB_OPAQUE(a);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (__m512& s : sums) {
      asm volatile("vdpbf16ps %1, %1, %0" : "+v"(s) : "v"(a));
    }
  }
  return 2.0 * 32 * kChains * kSteps;
}

OB_PEAK_AVX512 double int8_avx512() {
  __m512i sums[kChains] = {};
  const __m512i a = _mm512_set1_epi8(1);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (__m512i& s : sums) {
      asm volatile("vpdpbusd %1, %1, %0" : "+v"(s) : "v"(a));
    }
  }
  return 2.0 * 64 * kChains * kSteps;
}

OB_PEAK_AVX2 double f32_avx2() {
  __m256 sums[kChains] = {};
  const __m256 a = _mm256_set1_ps(1e-3f);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (__m256& s : sums) {
      s = _mm256_fmadd_ps(a, a, s);
      OB_OPAQUE(s);
    }
  }
  return 2.0 * 8 * kChains * kSteps;
}

OB_PEAK_AVX2 double int8_avx2() {
  __m256i sums[kChains] = {};
  __m256i a = _mm256_set1_epi8(1);
  const __m256i ones = _mm256_set1_epi16(1);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (__m256i& s : sums) {
      OB_OPAQUE(a);
      s = _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(a, a), ones));
      OB_OPAQUE(s);
    }
  }
  return 2.0 * 32 * kChains * kSteps;
}

OB_PEAK_AVX2 void read_all(const std::byte* from, size_t bytes) {
  __m256i sums[4] = {};
  for (size_t i = 0; i + 128 <= bytes; i += 128) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) {
      sums[j] = _mm256_xor_si256(
          sums[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(from + i + 32 * j)));
    }
  }
  for (__m256i& s : sums) {
    OB_OPAQUE(s);
  }
}

// GFLOP/s of all threads running `kernel` at once.
double rate(ThreadPool& pool, double (*kernel)()) {
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<double> done(static_cast<size_t>(pool.threads()));
    const double seconds = seconds_of([&] {
      pool.run(pool.threads(), [&](int64_t i) { done[static_cast<size_t>(i)] = kernel(); });
    });
    double all = 0;
    for (const double d : done) {
      all += d;
    }
    best = std::max(best, all / seconds * 1e-9);
  }
  return best;
}

double onednn_bf16(ThreadPool& pool) {
  if (!has_onednn()) {
    return 0;
  }
  constexpr int64_t kSide = 1024;
  const auto side = static_cast<size_t>(kSide);
  std::vector<uint16_t> factors(side * side, 0x3f80);
  std::vector<float> products(side * side * static_cast<size_t>(pool.threads()));
  const auto all = [&] {
    pool.run(pool.threads(), [&](int64_t i) {
      onednn_gemm({.m = kSide,
                   .n = kSide,
                   .k = kSide,
                   .in = Dtype::bf16,
                   .a = factors.data(),
                   .lda = kSide,
                   .b = factors.data(),
                   .ldb = kSide,
                   .b_is_transposed = true,
                   .c = products.data() + static_cast<size_t>(i) * side * side,
                   .ldc = kSide});
    });
  };
  double best = 0;
  for (int run = 0; run <= kRuns; ++run) {  // the first makes the primitive
    best = std::max(best, 2.0 * kSide * kSide * kSide * pool.threads() / seconds_of(all) * 1e-9);
  }
  return best;
}

double dram_rate(ThreadPool& pool) {
  const size_t bytes = kReadBytes * static_cast<size_t>(pool.threads());
  const auto storage = host_allocator().allocate(bytes);
  std::byte* base = storage->data();
  const auto part = [&](int64_t i) { return base + static_cast<size_t>(i) * kReadBytes; };
  pool.run(pool.threads(),
           [&](int64_t i) { std::fill(part(i), part(i) + kReadBytes, std::byte{1}); });
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const double seconds = seconds_of(
        [&] { pool.run(pool.threads(), [&](int64_t i) { read_all(part(i), kReadBytes); }); });
    best = std::max(best, static_cast<double>(bytes) / seconds * 1e-9);
  }
  return best;
}

}  // namespace

CpuPeaks measure_cpu_peaks(ThreadPool& pool, Backend backend) {
  OB_REQUIRE(backend == Backend::cpu_avx2 || backend == Backend::cpu_avx512, InvalidArgument,
             "peaks are measured for the vector backends, not {}", to_string(backend));
  CpuPeaks peaks{.dram = dram_rate(pool)};
  if (backend == Backend::cpu_avx512) {
    peaks.f32 = rate(pool, f32_avx512);
    peaks.bf16 = std::max(rate(pool, bf16_avx512), onednn_bf16(pool));
    peaks.int8 = rate(pool, int8_avx512);
  } else {
    peaks.f32 = rate(pool, f32_avx2);
    peaks.int8 = rate(pool, int8_avx2);
  }
  return peaks;
}

}  // namespace offbook::backend
