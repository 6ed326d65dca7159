#include "src/ops/cross_entropy/cross_entropy.h"

#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

struct Sizes {
  int64_t n;
  int64_t vocab;
  int64_t dim;
};

// Every row has a target but each fifth; the last tile's words occur.
std::vector<int32_t> targets(const Sizes& s) {
  std::vector<int32_t> out(static_cast<size_t>(s.n));
  for (int64_t r = 0; r < s.n; ++r) {
    out[static_cast<size_t>(r)] =
        r % 5 == 4 ? -1 : static_cast<int32_t>((s.vocab - 1 + r * 37) % s.vocab);
  }
  return out;
}

void run(ExecutionContext& ctx, Case& c, Dtype activation, Dtype head_type, const Sizes& s) {
  // Random blocks are large: with ordinary rows logits of 100 would be rounded to bf16 factors.
  const float scale = is_quantised(head_type) ? 0.1f : 1.0f;
  const LinearCrossEntropyArgs forward{
      .hidden = c.input(activation, {s.n, s.dim}, {.scale = scale, .strided = true}),
      .head = c.input(head_type, {s.vocab, s.dim}, {.scale = 0.3f}),
      .targets = c.ints(targets(s)),
      .losses = c.output(Dtype::f32, {s.n}),
      .lse = c.output(Dtype::f32, {s.n})};
  linear_cross_entropy(ctx, forward);
  const Tensor d_losses = c.input(Dtype::f32, {s.n});
  linear_cross_entropy_backward(
      ctx, {.forward = forward,
            .d_losses = d_losses,
            .d_hidden = c.output(activation, {s.n, s.dim}, {.strided = true})});
  linear_cross_entropy_backward(ctx, {.forward = forward,
                                      .d_losses = d_losses,
                                      .d_hidden = c.inout(activation, {s.n, s.dim}),
                                      .write = Write::accumulate,
                                      .d_head = c.inout(Dtype::f32, {s.vocab, s.dim})});
}

std::string name(const Sizes& s, Dtype head) {
  return fmt::format("cross entropy {} × {} [{}, {}]", s.n, dtype_info(head).name, s.vocab, s.dim);
}

TEST(LinearCrossEntropy, EqualsTheReference) {
  for (const Dtype head : {Dtype::f32, Dtype::bf16, Dtype::f16, Dtype::q8_0, Dtype::q4_k}) {
    const int64_t block = dtype_info(head).block_elems;
    for (const Sizes& s :
         {Sizes{1, 3, block > 1 ? block : 7}, Sizes{6, 1601, block > 1 ? block : 24},
          Sizes{150, 90, block > 1 ? block : 33}}) {
      check(name(s, head) + " f32", {.nmse = 1e-10, .worst = 2e-5},
            [&](auto& ctx, auto& c) { run(ctx, c, Dtype::f32, head, s); });
      const testing::CheckOptions options{.compute = Compute::bf16};
      check(
          name(s, head) + " bf16", {.nmse = 1e-4, .worst = 2e-2},
          [&](auto& ctx, auto& c) { run(ctx, c, Dtype::bf16, head, s); }, options);
    }
  }
}

// Both made in one walk: in f32 as in two; in bf16 weights are rounded before they are normalised.
void run_at_once(ExecutionContext& ctx, Case& c, Dtype activation, Dtype head_type,
                 const Sizes& s) {
  const float scale = is_quantised(head_type) ? 0.1f : 1.0f;
  const LinearCrossEntropyArgs forward{
      .hidden = c.input(activation, {s.n, s.dim}, {.scale = scale, .strided = true}),
      .head = c.input(head_type, {s.vocab, s.dim}, {.scale = 0.3f}),
      .targets = c.ints(targets(s)),
      .losses = c.output(Dtype::f32, {s.n}),
      .lse = c.output(Dtype::f32, {s.n}),
      .gradient = c.output(activation, {s.n, s.dim}, {.strided = true})};
  linear_cross_entropy(ctx, forward);
  linear_cross_entropy_backward(ctx, {.forward = forward,
                                      .d_losses = c.input(Dtype::f32, {s.n}),
                                      .d_hidden = c.inout(activation, {s.n, s.dim}),
                                      .write = Write::accumulate});
}

TEST(LinearCrossEntropy, LossesAndGradientsInOneWalkEqualTheReference) {
  for (const Dtype head : {Dtype::f32, Dtype::bf16, Dtype::q8_0}) {
    const int64_t block = dtype_info(head).block_elems;
    for (const Sizes& s :
         {Sizes{1, 3, block > 1 ? block : 7}, Sizes{6, 1601, block > 1 ? block : 24},
          Sizes{1100, 90, block > 1 ? block : 33}}) {
      check(name(s, head) + " f32 at once", {.nmse = 1e-10, .worst = 2e-5},
            [&](auto& ctx, auto& c) { run_at_once(ctx, c, Dtype::f32, head, s); },
            {.skip = {Backend::cuda}});  // which makes them apart
      check(name(s, head) + " bf16 at once", {.nmse = 1e-4, .worst = 2e-2},
            [&](auto& ctx, auto& c) { run_at_once(ctx, c, Dtype::bf16, head, s); },
            {.compute = Compute::bf16, .skip = {Backend::cuda}});
    }
  }
}

// A target that is nearly certain has a gradient far below its weight: no rounding of the weight
// may enter it.
TEST(LinearCrossEntropy, TheGradientOfANearlyCertainTargetIsExact) {
  for (const Backend backend : testing::available_backends()) {
    if (backend == Backend::cuda) {
      continue;
    }
    backend::ThreadPool pool(1);
    backend::Arena arena;
    const ExecutionContext ctx{
        .backend = backend, .compute = Compute::bf16, .pool = &pool, .arena = &arena};
    const Tensor hidden = Tensor::zeros(Dtype::f32, {1, 32});
    const Tensor head = Tensor::zeros(Dtype::f32, {64, 32});
    hidden.data<float>()[0] = 1;
    head.data<float>()[5 * 32] = 12;  // others 0: 1 - p = 63 e^-12
    const Tensor targets = Tensor::zeros(Dtype::i32, {1});
    targets.data<int32_t>()[0] = 5;
    const Tensor gradient = Tensor::zeros(Dtype::f32, {1, 32});
    linear_cross_entropy(ctx, {.hidden = hidden,
                               .head = head,
                               .targets = targets,
                               .losses = Tensor::zeros(Dtype::f32, {1}),
                               .gradient = gradient});
    const double rest = 63 * std::exp(-12.0);
    EXPECT_NEAR(gradient.data<float>()[0], -12 * rest / (1 + rest), 1e-5);
  }
}

TEST(LinearCrossEntropy, MoreRowsThanAChunk) {
  const Sizes s{1100, 40, 8};
  check(name(s, Dtype::f32), {.nmse = 1e-10, .worst = 2e-5},
        [&](auto& ctx, auto& c) { run(ctx, c, Dtype::f32, Dtype::f32, s); });
}

// The width for which CUDA keeps logits in registers: vocabularies that end within a tile, at its
// end, and rows for one block, for several, and for more than a multiprocessor each.
TEST(LinearCrossEntropy, WidthOfSmolLM2EqualsTheReference) {
  for (const Sizes& s : {Sizes{70, 300, 576}, Sizes{1, 128, 576}, Sizes{300, 1027, 576}}) {
    const testing::CheckOptions options{.compute = Compute::bf16};
    check(
        name(s, Dtype::bf16), {.nmse = 1e-4, .worst = 2e-2},
        [&](auto& ctx, auto& c) { run(ctx, c, Dtype::bf16, Dtype::bf16, s); }, options);
  }
}

TEST(LinearCrossEntropy, ScratchStaysBelow16MiB) {
  for (const Backend backend : testing::available_backends()) {
    if (backend == Backend::cuda) {
      continue;  // host tensors; a GPU may take more
    }
    for (const Sizes& s : {Sizes{1500, 1000, 576}, Sizes{80, 100, 8192}}) {
      backend::ThreadPool pool(2);
      backend::Arena arena;
      ExecutionContext ctx{
          .backend = backend, .compute = Compute::bf16, .pool = &pool, .arena = &arena};
      const Tensor losses = Tensor::empty(Dtype::f32, {s.n});
      const LinearCrossEntropyArgs forward{.hidden = Tensor::zeros(Dtype::f32, {s.n, s.dim}),
                                           .head = Tensor::zeros(Dtype::q8_0, {s.vocab, s.dim}),
                                           .targets = Tensor::zeros(Dtype::i32, {s.n}),
                                           .losses = losses,
                                           .lse = Tensor::empty(Dtype::f32, {s.n})};
      linear_cross_entropy(ctx, forward);
      EXPECT_NEAR(losses.data<float>()[s.n - 1], std::log(static_cast<double>(s.vocab)), 1e-4);
      linear_cross_entropy_backward(ctx, {.forward = forward,
                                          .d_losses = losses,
                                          .d_hidden = Tensor::zeros(Dtype::bf16, {s.n, s.dim})});
      EXPECT_LE(arena.peak_bytes(), size_t{16} << 20) << s.dim;
      EXPECT_EQ(arena.mark().used, 0u);
    }
  }
}

// Sum of d_losses · losses of the reference, whose losses are rounded to f32.
double objective(const ExecutionContext& ctx, const LinearCrossEntropyArgs& args,
                 const Tensor& d_losses) {
  linear_cross_entropy(ctx, args);
  double sum = 0;
  for (int64_t r = 0; r < d_losses.dim(0); ++r) {
    sum += static_cast<double>(d_losses.data<float>()[r]) *
           static_cast<double>(args.losses.data<float>()[r]);
  }
  return sum;
}

TEST(LinearCrossEntropy, GradientEqualsFiniteDifferences) {
  const Sizes s{6, 11, 5};
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Case c(ctx, 3);
  const LinearCrossEntropyArgs forward{.hidden = c.inout(Dtype::f32, {s.n, s.dim}),
                                       .head = c.inout(Dtype::f32, {s.vocab, s.dim}),
                                       .targets = c.ints(targets(s)),
                                       .losses = Tensor::empty(Dtype::f32, {s.n}),
                                       .lse = Tensor::empty(Dtype::f32, {s.n})};
  const Tensor d_losses = c.input(Dtype::f32, {s.n});
  const Tensor d_hidden = Tensor::zeros(Dtype::f32, {s.n, s.dim});
  const Tensor d_head = Tensor::zeros(Dtype::f32, {s.vocab, s.dim});
  linear_cross_entropy_backward(
      ctx, {.forward = forward, .d_losses = d_losses, .d_hidden = d_hidden, .d_head = d_head});
  const auto compare = [&](const Tensor& values, const Tensor& gradient) {
    for (int64_t i = 0; i < values.numel(); ++i) {
      float& x = values.data<float>()[i];
      const float before = x;
      constexpr float kStep = 1e-2f;
      x = before + kStep;
      const double above = objective(ctx, forward, d_losses);
      x = before - kStep;
      const double below = objective(ctx, forward, d_losses);
      x = before;
      EXPECT_NEAR(gradient.data<float>()[i], (above - below) / (2.0 * kStep), 2e-3) << i;
    }
  };
  compare(forward.hidden, d_hidden);
  compare(forward.head, d_head);
}

TEST(LinearCrossEntropy, RefusesWrongTargetsAndShapes) {
  std::vector<Backend> backends = testing::available_backends();
  backends.push_back(Backend::reference);
  for (const Backend backend : backends) {
    if (backend == Backend::cuda) {
      continue;  // host tensors; a GPU does not look at targets
    }
    backend::ThreadPool pool(1);
    backend::Arena arena;
    const ExecutionContext ctx{.backend = backend, .pool = &pool, .arena = &arena};
    const Tensor hidden = Tensor::zeros(Dtype::f32, {2, 4});
    const Tensor head = Tensor::zeros(Dtype::f32, {3, 4});
    const Tensor losses = Tensor::zeros(Dtype::f32, {2});
    const Tensor good = Tensor::zeros(Dtype::i32, {2});
    for (const int32_t bad : {-2, 3}) {
      const Tensor wrong = Tensor::zeros(Dtype::i32, {2});
      wrong.data<int32_t>()[1] = bad;
      EXPECT_THROW(linear_cross_entropy(
                       ctx, {.hidden = hidden, .head = head, .targets = wrong, .losses = losses}),
                   Error);
    }
    EXPECT_THROW(linear_cross_entropy(
                     ctx, {.hidden = hidden, .head = hidden, .targets = losses, .losses = losses}),
                 Error);
    EXPECT_THROW(linear_cross_entropy(
                     ctx, {.hidden = hidden, .head = head, .targets = good, .losses = hidden}),
                 Error);
    const LinearCrossEntropyArgs without_lse{
        .hidden = hidden, .head = head, .targets = good, .losses = losses};
    EXPECT_THROW(linear_cross_entropy_backward(
                     ctx, {.forward = without_lse, .d_losses = losses, .d_hidden = hidden}),
                 Error);
  }
}

}  // namespace
}  // namespace offbook::ops
