#include "src/ops/swiglu/swiglu.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

void check_same(const char* op, const Tensor& gate, const Tensor& other) {
  OB_REQUIRE(gate.rank() == 2 && is_activation(gate) && other.shape() == gate.shape() &&
                 other.dtype() == gate.dtype(),
             InvalidArgument, "{}: gate {} and {} have one shape [n, dim] and type", op,
             to_string(gate), to_string(other));
}

}  // namespace

void swiglu(const ExecutionContext& ctx, const SwigluArgs& a) {
  check_same("swiglu", a.gate, a.up);
  check_same("swiglu", a.gate, a.out);
  pick(&OpTable::swiglu, ctx, "swiglu")(ctx, a);
}

void swiglu_backward(const ExecutionContext& ctx, const SwigluBackwardArgs& a) {
  check_same("swiglu_backward", a.gate, a.up);
  check_same("swiglu_backward", a.gate, a.d_out);
  check_same("swiglu_backward", a.gate, a.d_gate);
  check_same("swiglu_backward", a.gate, a.d_up);
  if (a.out.defined()) {
    check_same("swiglu_backward", a.gate, a.out);
  }
  pick(&OpTable::swiglu_backward, ctx, "swiglu_backward")(ctx, a);
}

}  // namespace offbook::ops
