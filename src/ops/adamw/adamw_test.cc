#include "src/base/float16.h"
#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

TEST(Adamw, EqualsTheReference) {
  for (const int64_t n : {1, 37, 40000}) {
    testing::check("adamw", {.nmse = 1e-10, .worst = 1e-5}, [&](auto& ctx, auto& c) {
      const Tensor grad = c.input(Dtype::f32, {n});
      const Tensor param = c.inout(Dtype::f32, {n});
      const Tensor m = c.inout(Dtype::f32, {n});
      const Tensor v = c.inout(Dtype::f32, {n});
      adamw(ctx, {.param = param, .grad = grad, .m = m, .v = v, .beta1 = 0, .beta2 = 0});  // v = grad² ≥ 0
      adamw(ctx, {.param = param,
                  .grad = grad,
                  .m = m,
                  .v = v,
                  .lr = 1e-3f,
                  .weight_decay = 0.1f,
                  .step = 7,
                  .grad_scale = 0.5f});
    });
  }
}

// Values of torch.optim.AdamW(lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01) on one weight of 1
// with gradients 1, then -0.5.
TEST(Adamw, TwoStepsOfTorch) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  for (const Backend backend : {Backend::reference, Backend::cpu_avx2}) {
    ExecutionContext ctx{.backend = backend, .pool = &pool, .arena = &arena};
    Tensor param = Tensor::zeros(Dtype::f32, {1});
    Tensor grad = Tensor::zeros(Dtype::f32, {1});
    Tensor m = Tensor::zeros(Dtype::f32, {1});
    Tensor v = Tensor::zeros(Dtype::f32, {1});
    Tensor copy = Tensor::zeros(Dtype::bf16, {1});
    *param.data<float>() = 1;
    *grad.data<float>() = 1;
    AdamwArgs args{.param = param, .grad = grad, .m = m, .v = v, .lr = 0.1f, .weight_decay = 0.01f, .copy = copy};
    adamw(ctx, args);
    EXPECT_NEAR(*param.data<float>(), 0.899, 1e-6);
    *grad.data<float>() = -0.5f;
    args.step = 2;
    adamw(ctx, args);
    EXPECT_NEAR(*param.data<float>(), 0.8712640, 1e-5);
    EXPECT_EQ(copy.data<Bf16>()->bits, to_bf16(*param.data<float>()).bits);
  }
}

TEST(SumSquares, EqualsTheReference) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    for (const Shape& shape : {Shape{1}, Shape{130, 577}, Shape{0, 4}}) {
      testing::check("sum_squares " + to_string(shape), {.nmse = 1e-10, .worst = 1e-5}, [&](auto& ctx, auto& c) {
        const Tensor x = c.input(dtype, shape);
        sum_squares(ctx, {.x = x, .out = c.inout(Dtype::f32, {1})});
      });
    }
  }
}

}  // namespace
}  // namespace offbook::ops
