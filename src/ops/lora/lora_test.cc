#include "src/ops/lora/lora.h"

#include "src/ops/testing/device.h"
#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

struct Sizes {
  int64_t in;
  int64_t out;
};

// Adapters: f32 of rank 4, none, bf16 of rank 17.
std::vector<LoraFactors> adapters(Case& c, const Sizes& s) {
  std::vector<LoraFactors> out(3);
  out[0] = {.a = c.input(Dtype::f32, {4, s.in}), .b = c.input(Dtype::f32, {s.out, 4}), .scale = 2};
  out[2] = {
      .a = c.input(Dtype::bf16, {17, s.in}), .b = c.input(Dtype::bf16, {s.out, 17}), .scale = 0.5f};
  return out;
}

void run(ExecutionContext& ctx, Case& c, Dtype activation, const Sizes& s,
         const std::vector<int32_t>& rows) {
  const auto n = static_cast<int64_t>(rows.size());
  // A second matrix reads x too; of its adapters the last changes nothing.
  const std::vector<LoraFactors> list = adapters(c, s);
  const std::vector<LoraFactors> others{list[2], list[0], {}};
  const LoraPart parts[] = {{.adapters = list, .out = c.inout(activation, {n, s.out})},
                            {.adapters = others, .out = c.inout(activation, {n, s.out})}};
  lora(ctx, {.x = c.input(activation, {n, s.in}, {.strided = true}),
             .parts = parts,
             .adapter_of_row = c.ints(rows),
             .scratch = ctx.make(Dtype::f32, {n, 36})});
}

TEST(Lora, EqualsTheReference) {
  const std::vector<int32_t> many(100, 2);
  for (const Sizes& s : {Sizes{1, 1}, Sizes{37, 70}, Sizes{576, 192}}) {
    for (const std::vector<int32_t>& rows :
         {std::vector<int32_t>{}, {0}, {-1, 1}, {2, 2, 0, -1, 0, 1, 2}, many}) {
      check(fmt::format("lora {} → {}, {} rows", s.in, s.out, rows.size()),
            testing::f32_tolerance(s.in),
            [&](auto& ctx, auto& c) { run(ctx, c, Dtype::f32, s, rows); });
      const testing::CheckOptions options{.compute = Compute::bf16};
      check(
          "lora bf16", testing::bf16_tolerance(),
          [&](auto& ctx, auto& c) { run(ctx, c, Dtype::bf16, s, rows); }, options);
    }
  }
}

// Rows begin…end-1 of the same batch, all with one adapter.
std::vector<double> some_rows(Backend backend, int64_t begin, int64_t end) {
  backend::ThreadPool pool(2);
  testing::DeviceScope device(backend);
  backend::Arena arena(device.allocator());
  ExecutionContext ctx{.backend = backend,
                       .compute = Compute::bf16,
                       .pool = &pool,
                       .arena = &arena,
                       .cuda = device.cuda()};
  Case c(ctx, 5);
  const Sizes s{576, 130};
  const std::vector<LoraFactors> list = adapters(c, s);
  const Tensor x = c.input(Dtype::f32, {100, s.in});
  const Tensor rows = c.ints(std::vector<int32_t>(100, 2));
  const Tensor out = c.output(Dtype::f32, {end - begin, s.out});
  fill(ctx, {.value = 0, .out = out});
  const LoraPart part{.adapters = list, .out = out};
  lora(ctx, {.x = x.slice(0, begin, end),
             .parts = std::span(&part, 1),
             .adapter_of_row = rows.slice(0, begin, end),
             .scratch = ctx.make(Dtype::f32, {100, 17})});
  return c.collect()[0];
}

TEST(Lora, ARowHasTheSameBitsInEveryBatch) {
  for (const Backend backend : testing::available_backends()) {
    const std::vector<double> all = some_rows(backend, 0, 100);
    for (const int64_t row : {0, 7, 8, 63, 99}) {
      const std::vector<double> alone = some_rows(backend, row, row + 1);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + row * 130))
          << row << " " << backend::to_string(backend);
    }
  }
}

TEST(Lora, RefusesWrongFactorsAndRows) {
  std::vector<Backend> backends = testing::available_backends();
  backends.push_back(Backend::reference);
  for (const Backend backend : backends) {
    if (backend == Backend::cuda) {
      continue;  // host tensors
    }
    backend::ThreadPool pool(1);
    backend::Arena arena;
    const ExecutionContext ctx{.backend = backend, .pool = &pool, .arena = &arena};
    const auto f32 = [](const Shape& shape) { return Tensor::zeros(Dtype::f32, shape); };
    const auto apply = [&](const LoraFactors& factors, int32_t index, int64_t room) {
      const Tensor rows = Tensor::zeros(Dtype::i32, {2});
      rows.data<int32_t>()[1] = index;
      const LoraPart part{.adapters = std::span(&factors, 1), .out = f32({2, 5})};
      lora(ctx, {.x = f32({2, 8}),
                 .parts = std::span(&part, 1),
                 .adapter_of_row = rows,
                 .scratch = f32({2, room})});
    };
    const LoraFactors good{.a = f32({3, 8}), .b = f32({5, 3})};
    EXPECT_NO_THROW(apply(good, 0, 3));
    EXPECT_THROW(apply(good, 1, 3), Error);
    EXPECT_THROW(apply(good, -2, 3), Error);
    EXPECT_THROW(apply(good, 0, 2), Error);
    EXPECT_THROW(apply({.a = f32({3, 7}), .b = f32({5, 3})}, 0, 3), Error);
    EXPECT_THROW(apply({.a = f32({3, 8}), .b = f32({5, 4})}, 0, 4), Error);
    EXPECT_THROW(apply({.a = f32({3, 8})}, 0, 3), Error);
  }
}

}  // namespace
}  // namespace offbook::ops
