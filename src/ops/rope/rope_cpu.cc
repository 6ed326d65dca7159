#include <cmath>

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/rope/rotate.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kTableRowsPerTask = 4;  // 128 sines and cosines of dim 64: about 5 µs
constexpr int64_t kRowsPerTask = 16;

template <typename X, typename O>
void rotate_rows(const ExecutionContext& ctx, const RopeArgs& a) {
  const Rows x(a.x);
  const Rows out(a.out);
  const int64_t heads = a.x.dim(1);
  const int64_t dim = a.x.dim(2);
  const auto* table = a.table.data<float>();
  ctx.pool->parallel_for(a.x.dim(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin * heads; r < end * heads; ++r) {
      rotate_head(x.row<X>(r), table + r / heads * dim, dim, out.row<O>(r),
                  {.rotation = a.rotation, .write = a.write});
    }
  });
}

}  // namespace

void rope_table(const ExecutionContext& ctx, const RopeTableArgs& a) {
  const int64_t half = a.inv_freq.dim(0);
  const auto* positions = a.positions.data<int32_t>();
  const auto* inv_freq = a.inv_freq.data<float>();
  auto* out = a.out.data<float>();
  ctx.pool->parallel_for(a.positions.dim(0), kTableRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      float* row = out + n * 2 * half;
      for (int64_t i = 0; i < half; ++i) {
        const double angle = positions[n] * static_cast<double>(inv_freq[i]);
        row[i] = static_cast<float>(std::cos(angle) * a.scale);
        row[half + i] = static_cast<float>(std::sin(angle) * a.scale);
      }
    }
  });
}

void rope(const ExecutionContext& ctx, const RopeArgs& a) {
  with_activation_type(a.x.dtype(), [&](auto* xt) {
    with_activation_type(a.out.dtype(), [&](auto* ot) {
      rotate_rows<std::remove_pointer_t<decltype(xt)>, std::remove_pointer_t<decltype(ot)>>(ctx, a);
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
