#include "src/ops/norm_linear/norm_linear.h"

#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

struct Sizes {
  int64_t n;
  int64_t in;
  std::vector<int64_t> outs;
};

NormedRows rows_of(Case& c, Dtype type, int64_t n, int64_t in) {
  return {.x = c.input(type, {n, in}, {.scale = 2, .strided = true}),
          .weight = c.input(type, {in}),
          .eps = 1e-5f};
}

NormLinearArgs args_of(Case& c, const Sizes& s, Dtype type, Dtype weight, bool biased) {
  NormLinearArgs a{.rows = rows_of(c, type, s.n, s.in), .weights = {}, .biases = {}, .outs = {}};
  for (size_t i = 0; i < s.outs.size(); ++i) {
    a.weights[i] = c.input(weight, {s.outs[i], s.in}, {.scale = 0.05f});
    if (biased) {
      a.biases[i] = c.input(Dtype::f32, {s.outs[i]});
    }
    a.outs[i] = c.output(type, {s.n, s.outs[i]}, {.strided = i == 1});
  }
  return a;
}

// bf16: up to four roundings behind one another (the norm, two products, what they give), 3.5e-5 seen.
// Quantised: int8 activations of the CPU, as the tests of `linear` allow.
testing::Tolerance tolerance_of(Dtype weight, Compute compute, int64_t in) {
  if (compute == Compute::f32) {
    return testing::f32_tolerance(in);
  }
  return is_quantised(weight) ? testing::Tolerance{.nmse = 5e-4, .worst = 3e-2}
                              : testing::Tolerance{.nmse = 1e-4, .worst = 2e-2};
}

std::vector<Sizes> sizes() {
  return {{1, 64, {5}},
          {1, 576, {576, 192, 192}},
          {2, 2048, {48, 16, 16}},
          {8, 1024, {40, 7, 33}},
          {5, 4096, {64, 16, 16}},
          {9, 576, {30, 20}},
          {1, 72, {9, 3}},
          {0, 64, {4}}};
}

TEST(NormLinear, EqualsTheReference) {
  for (const Sizes& s : sizes()) {
    for (const Dtype weight : {Dtype::bf16, Dtype::q4_1, Dtype::q8_0, Dtype::f32}) {
      if (s.in % dtype_info(weight).block_elems != 0) {
        continue;
      }
      const std::string name =
          fmt::format("norm_linear {} x {} {}", s.n, s.in, dtype_info(weight).name);
      check(name + " f32", tolerance_of(weight, Compute::f32, s.in),
            [&](auto& ctx, auto& c) { norm_linear(ctx, args_of(c, s, Dtype::f32, weight, true)); });
      for (const Dtype type : {Dtype::f32, Dtype::bf16}) {
        check(name + " bf16 products", tolerance_of(weight, Compute::bf16, s.in),
              [&](auto& ctx, auto& c) { norm_linear(ctx, args_of(c, s, type, weight, false)); },
              {.compute = Compute::bf16});
      }
    }
  }
}

TEST(NormLinear, SwigluEqualsTheReference) {
  for (const Sizes& s : sizes()) {
    for (const Dtype weight : {Dtype::bf16, Dtype::q4_1, Dtype::f32}) {
      if (s.in % dtype_info(weight).block_elems != 0) {
        continue;
      }
      const auto body = [&](ExecutionContext& ctx, Case& c, Dtype type) {
        const int64_t dim = s.outs[0];
        norm_swiglu(ctx, {.rows = rows_of(c, type, s.n, s.in),
                          .gate = c.input(weight, {dim, s.in}, {.scale = 0.05f}),
                          .up = c.input(weight, {dim, s.in}, {.scale = 0.05f}),
                          .out = c.output(type, {s.n, dim}, {.strided = true})});
      };
      const std::string name =
          fmt::format("norm_swiglu {} x {} {}", s.n, s.in, dtype_info(weight).name);
      check(name + " f32", tolerance_of(weight, Compute::f32, s.in),
            [&](auto& ctx, auto& c) { body(ctx, c, Dtype::f32); });
      check(name + " bf16", tolerance_of(weight, Compute::bf16, s.in),
            [&](auto& ctx, auto& c) { body(ctx, c, Dtype::bf16); }, {.compute = Compute::bf16});
    }
  }
}

// Weights of two types cannot share one kernel: a GGUF file often has values in a wider type.
TEST(NormLinear, TakesWeightsOfSeveralTypes) {
  check("norm_linear mixed", testing::Tolerance{.nmse = 5e-4, .worst = 3e-2},
        [](auto& ctx, auto& c) {
          NormLinearArgs a = args_of(c, {2, 256, {32, 16, 16}}, Dtype::bf16, Dtype::q4_1, false);
          a.weights[2] = c.input(Dtype::q8_0, {16, 256}, {.scale = 0.05f});
          norm_linear(ctx, a);
        },
        {.compute = Compute::bf16});
}

TEST(NormLinear, ARowHasTheSameBitsAloneAndAmongOthers) {
  for (const backend::Backend backend : testing::available_backends()) {
    if (backend == backend::Backend::cuda) {
      continue;  // on the host's tensors; the harness compares devices
    }
    backend::ThreadPool pool(2);
    backend::Arena arena;
    ExecutionContext ctx{
        .backend = backend, .compute = Compute::bf16, .pool = &pool, .arena = &arena};
    Case c(ctx, 7);
    const NormLinearArgs all = args_of(c, {8, 576, {40, 16}}, Dtype::f32, Dtype::q4_1, false);
    norm_linear(ctx, all);
    for (int64_t r = 0; r < 8; ++r) {
      NormLinearArgs one = all;
      one.rows.x = all.rows.x.slice(0, r, r + 1);
      one.outs[0] = c.output(Dtype::f32, {1, 40});
      one.outs[1] = c.output(Dtype::f32, {1, 16});
      norm_linear(ctx, one);
      for (int64_t i = 0; i < 40; ++i) {
        ASSERT_EQ(one.outs[0].data<float>()[i], all.outs[0].slice(0, r, r + 1).data<float>()[i]);
      }
    }
  }
}

TEST(NormLinear, RefusesWhatDoesNotFit) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Case c(ctx, 1);
  const NormLinearArgs good = args_of(c, {2, 64, {8, 4}}, Dtype::f32, Dtype::f32, true);
  const auto refused = [&](const char* word, const auto& change) {
    NormLinearArgs a = good;
    change(a);
    try {
      norm_linear(ctx, a);
      ADD_FAILURE() << "not refused: " << word;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::InvalidArgument);
      EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    }
  };
  norm_linear(ctx, good);
  refused("no weight", [](NormLinearArgs& a) { a.weights = {}; });
  refused("missing before", [](NormLinearArgs& a) { std::swap(a.weights[1], a.weights[2]); });
  refused("eps", [](NormLinearArgs& a) { a.rows.eps = 0; });
  refused("weight of the norm", [&](NormLinearArgs& a) { a.rows.weight = good.weights[0]; });
  refused("[out, 64]", [](NormLinearArgs& a) { a.weights[0] = a.weights[0].slice(1, 0, 32); });
  refused("out is", [&](NormLinearArgs& a) { a.outs[0] = good.outs[1]; });
  refused("bias", [&](NormLinearArgs& a) { a.biases[0] = good.biases[1]; });
}

}  // namespace
}  // namespace offbook::ops
