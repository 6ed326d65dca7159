// The CPU gains nothing from fusing: rows of x stay in the L1 cache between the operations.
#include "src/ops/norm_linear/unfused.h"
#include "src/ops/registry.h"

#include "src/backend/cpu/isa_begin.h"

namespace offbook::ops::OB_ISA {
namespace {

struct Ops {
  static void rms_norm(const ExecutionContext& ctx, const RmsNormArgs& a) {
    OB_ISA::rms_norm(ctx, a);
  }
  static void linear(const ExecutionContext& ctx, const LinearArgs& a) { OB_ISA::linear(ctx, a); }
  static void swiglu(const ExecutionContext& ctx, const SwigluArgs& a) { OB_ISA::swiglu(ctx, a); }
};

}  // namespace

void norm_linear(const ExecutionContext& ctx, const NormLinearArgs& a) {
  norm_linear_unfused<Ops>(ctx, a);
}

void norm_swiglu(const ExecutionContext& ctx, const NormSwigluArgs& a) {
  norm_swiglu_unfused<Ops>(ctx, a);
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
