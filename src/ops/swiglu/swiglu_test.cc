#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

TEST(Swiglu, ForwardAndBackwardEqualTheReference) {
  for (const Shape& shape : {Shape{1, 1}, Shape{9, 37}, Shape{20, 1536}, Shape{0, 4}}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      testing::check("swiglu " + to_string(shape),
                     dtype == Dtype::f32 ? testing::f32_tolerance(8) : testing::bf16_tolerance(),
                     [&](auto& ctx, auto& c) {
                       const Tensor gate = c.input(dtype, shape, {.scale = 3, .strided = true});
                       const Tensor up = c.input(dtype, shape, {.strided = true});
                       swiglu(ctx, {.gate = gate, .up = up, .out = c.output(dtype, shape)});
                       const Tensor d_out = c.input(dtype, shape);
                       swiglu_backward(ctx, {.gate = gate,
                                             .up = up,
                                             .d_out = d_out,
                                             .d_gate = c.output(dtype, shape, {.strided = true}),
                                             .d_up = c.output(dtype, shape, {.strided = true})});
                       swiglu_backward(ctx, {.gate = gate,
                                             .up = up,
                                             .d_out = d_out,
                                             .d_gate = c.output(dtype, shape),
                                             .d_up = c.output(dtype, shape),
                                             .out = c.output(dtype, shape)});
                     });
    }
  }
}

TEST(Swiglu, LargeGatesSaturate) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  for (const Backend backend : testing::available_backends()) {
    if (backend::device_of(backend) != Device::cpu) {
      continue;
    }
    ExecutionContext ctx{.backend = backend, .pool = &pool, .arena = &arena};
    Tensor gate = Tensor::zeros(Dtype::f32, {1, 2});
    Tensor up = Tensor::zeros(Dtype::f32, {1, 2});
    gate.data<float>()[0] = 1000;
    gate.data<float>()[1] = -1000;
    up.data<float>()[0] = up.data<float>()[1] = 1;
    Tensor out = Tensor::empty(Dtype::f32, {1, 2});
    swiglu(ctx, {.gate = gate, .up = up, .out = out});
    EXPECT_FLOAT_EQ(out.data<float>()[0], 1000);
    EXPECT_NEAR(out.data<float>()[1], 0, 1e-30);
  }
}

}  // namespace
}  // namespace offbook::ops
