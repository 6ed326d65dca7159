#include "src/ops/dispatch.h"
#include "src/ops/kernel_types.h"
#include "src/ops/registry.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/gelu/gelu_of_cpu.h"
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kElemsPerTask = 16384;

}  // namespace

void gelu(const ExecutionContext& ctx, const GeluArgs& a) {
  with_activation_type(a.x.dtype(), [&](auto* tag) {
    using T = OB_TYPE(tag);
    const T* x = a.x.data<T>();
    T* out = a.out.data<T>();
    ctx.pool->parallel_for(a.x.numel(), kElemsPerTask, [&](int64_t begin, int64_t end) {
      for_lanes(end - begin, [&](int64_t i, int n) {
        store_some(out + begin + i, gelu_of(load_some(x + begin + i, n)), n);
      });
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
