#include "src/ops/cuda/map.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

// kFast: a few units in the last place of f32, for results that are rounded to bf16.
template <bool kFast>
__device__ float sigmoid(float x) {
  return kFast ? __fdividef(1.0f, 1.0f + __expf(-x)) : 1.0f / (1.0f + expf(-x));
}

template <bool kFast>
struct Gate {
  __device__ void operator()(int64_t, const float (&in)[2], float (&out)[1]) const {
    out[0] = in[0] * sigmoid<kFast>(in[0]) * in[1];
  }
};
template <bool kFast>
struct GateBackward {  // in: gate, up, d_out
  __device__ void operator()(int64_t, const float (&in)[3], float (&out)[2]) const {
    const float s = sigmoid<kFast>(in[0]);
    out[0] = in[2] * in[1] * s * (1.0f + in[0] * (1.0f - s));
    out[1] = in[2] * in[0] * s;
  }
};
template <bool kFast>
struct GateBackwardAndAgain {
  __device__ void operator()(int64_t column, const float (&in)[3], float (&out)[3]) const {
    float gradients[2];
    GateBackward<kFast>()(column, in, gradients);
    out[0] = gradients[0];
    out[1] = gradients[1];
    out[2] = in[0] * sigmoid<kFast>(in[0]) * in[1];
  }
};

template <bool kFast>
void backward(const ExecutionContext& ctx, const SwigluBackwardArgs& a) {
  if (a.out.defined()) {
    map<3, 3>(ctx, "swiglu_backward", {a.gate, a.up, a.d_out}, {a.d_gate, a.d_up, a.out},
              GateBackwardAndAgain<kFast>{});
  } else {
    map<3, 2>(ctx, "swiglu_backward", {a.gate, a.up, a.d_out}, {a.d_gate, a.d_up},
              GateBackward<kFast>{});
  }
}

}  // namespace

void swiglu(const ExecutionContext& ctx, const SwigluArgs& a) {
  if (a.out.dtype() == Dtype::bf16) {
    map<2, 1>(ctx, "swiglu", {a.gate, a.up}, {a.out}, Gate<true>{});
  } else {
    map<2, 1>(ctx, "swiglu", {a.gate, a.up}, {a.out}, Gate<false>{});
  }
}

void swiglu_backward(const ExecutionContext& ctx, const SwigluBackwardArgs& a) {
  if (a.d_gate.dtype() == Dtype::bf16 && a.d_up.dtype() == Dtype::bf16) {
    backward<true>(ctx, a);
  } else {
    backward<false>(ctx, a);
  }
}

}  // namespace offbook::ops::cuda
