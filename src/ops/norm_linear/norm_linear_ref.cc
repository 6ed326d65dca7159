#include "src/ops/norm_linear/unfused.h"

namespace offbook::ops::ref {
namespace {

struct Ops {
  static void rms_norm(const ExecutionContext& ctx, const RmsNormArgs& a) { ref::rms_norm(ctx, a); }
  static void linear(const ExecutionContext& ctx, const LinearArgs& a) { ref::linear(ctx, a); }
  static void swiglu(const ExecutionContext& ctx, const SwigluArgs& a) { ref::swiglu(ctx, a); }
};

}  // namespace

void norm_linear(const ExecutionContext& ctx, const NormLinearArgs& a) {
  norm_linear_unfused<Ops>(ctx, a);
}

void norm_swiglu(const ExecutionContext& ctx, const NormSwigluArgs& a) {
  norm_swiglu_unfused<Ops>(ctx, a);
}

}  // namespace offbook::ops::ref
