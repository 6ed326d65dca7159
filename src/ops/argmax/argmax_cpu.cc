#include <limits>

#include "src/ops/dispatch.h"
#include "src/ops/kernel_types.h"
#include "src/ops/registry.h"

#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

inline float as_float(float x) { return x; }
inline float as_float(Bf16 x) { return to_float(x); }

// The largest value by vectors, then its first place: two passes over a row in L2 are quicker than one
// with indices.
template <typename T>
int32_t argmax_row(const T* x, int64_t n) {
  const float lowest = -std::numeric_limits<float>::infinity();
  Vec best = splat(lowest);
  int64_t i = 0;
  for (; i + Vec::kLanes <= n; i += Vec::kLanes) {
    best = max(load(x + i), best);  // max(NaN, b) is b on x86
  }
  float top = highest(best);
  for (; i < n; ++i) {
    const float v = as_float(x[i]);
    top = v > top ? v : top;
  }
  for (int64_t j = 0; j < n; ++j) {
    if (as_float(x[j]) == top) {
      return static_cast<int32_t>(j);
    }
  }
  return 0;
}

}  // namespace

void argmax(const ExecutionContext& ctx, const ArgmaxArgs& a) {
  const Rows x(a.x);
  int32_t* out = a.out.data<int32_t>();
  with_activation_type(a.x.dtype(), [&](auto* tag) {
    ctx.pool->run(x.count(), [&](int64_t r) { out[r] = argmax_row(x.row<OB_TYPE(tag)>(r), x.dim()); });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
