#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/linear/rows.h"
#include "src/ops/lora/parts.h"
#include "src/ops/registry.h"
#include "src/ops/tiles.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/linear/convert_cpu.h"
#include "src/ops/simd.h"
#include "src/ops/transpose_cpu.h"

// The first product runs through linear_rows, whose sums do not depend on the number of rows; the
// second has columns of out in lanes and walks the rank in order. Compiled with -ffp-contract=off.
namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kColumns = 64;  // of out a task owns; b turned round for rank 64 takes 16 kB
constexpr int64_t kVectors = kColumns / Vec::kLanes;

// Neighbouring rows [begin, end) with one adapter.
struct Run {
  int64_t begin;
  int64_t end;
  const LoraFactors* factors;
};

// Calls fn(run) in order of rows; rows without adapter are left out.
template <typename Fn>
void for_runs(const OneLora& a, const Fn& fn) {
  for (int64_t begin = 0; begin < a.x.dim(0);) {
    const LoraFactors* factors = adapter_of(a, begin);
    int64_t end = begin + 1;
    while (end < a.x.dim(0) && adapter_of(a, end) == factors) {
      ++end;
    }
    if (factors != nullptr) {
      fn(Run{begin, end, factors});
    }
    begin = end;
  }
}

// out[0, cols) += scale · Σ_r inner[r] · b[r, 0…cols), b being turned round: [rank, kColumns].
template <typename O>
void add_row(const float* inner, const float* b, int64_t rank, float scale, int64_t cols, O* out) {
  Vec sums[kVectors];
  for (Vec& v : sums) {
    v = zero();
  }
  for (int64_t r = 0; r < rank; ++r) {
    const Vec x = splat(inner[r]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sums[v] = fma(x, load(b + r * kColumns + v * Vec::kLanes), sums[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t left = cols - v * Vec::kLanes;
    if (left > 0) {
      const int n = static_cast<int>(std::min<int64_t>(left, Vec::kLanes));
      O* at = out + v * Vec::kLanes;
      store_some(at, load_some(at, n) + sums[v] * splat(scale), n);
    }
  }
}

void add_tile(const OneLora& a, const Run& run, int64_t col, float* turned) {
  const Tensor& b = run.factors->b;
  const int64_t rank = b.dim(1);
  const int64_t cols = std::min(kColumns, a.out.dim(1) - col);
  std::fill(turned, turned + (cols < kColumns ? rank * kColumns : 0), 0.0f);
  with_activation_type(b.dtype(), [&](auto* type) {
    transpose(reinterpret_cast<decltype(type)>(b.row_raw(col)), b.stride(0), cols, rank, turned,
              kColumns);
  });
  with_activation_type(a.out.dtype(), [&](auto* type) {
    for (int64_t row = run.begin; row < run.end; ++row) {
      const auto* inner = reinterpret_cast<const float*>(a.scratch.row_raw(row));
      add_row(inner, turned, rank, run.factors->scale, cols,
              reinterpret_cast<decltype(type)>(a.out.row_raw(row)) + col);
    }
  });
}

void add_part(const ExecutionContext& ctx, const OneLora& a) {
  backend::ArenaScope scope(*ctx.arena);
  ExecutionContext exact = ctx;
  exact.compute = Compute::f32;  // adapters are small: nothing is gained by rounding
  const Tensor x = in_type(ctx, a.x, Dtype::f32);
  for_runs(a, [&](const Run& run) {
    linear_rows(exact,
                {.x = x.slice(0, run.begin, run.end),
                 .weight = run.factors->a,
                 .out = a.scratch.slice(0, run.begin, run.end).slice(1, 0, run.factors->a.dim(0))});
  });
  const int64_t tiles = (a.out.dim(1) + kColumns - 1) / kColumns;
  const int64_t turned_bytes = a.scratch.dim(1) * kColumns * static_cast<int64_t>(sizeof(float));
  if (turned_bytes == 0) {
    return;
  }
  for_tiles(ctx, tiles, turned_bytes, [&](int64_t tile, std::byte* scratch) {
    for_runs(a, [&](const Run& run) {
      add_tile(a, run, tile * kColumns, reinterpret_cast<float*>(scratch));
    });
  });
}

}  // namespace

void lora(const ExecutionContext& ctx, const LoraArgs& a) {
  each_part(a, [&](const OneLora& part) { add_part(ctx, part); });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
