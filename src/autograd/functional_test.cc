#include "src/autograd/functional.h"

#include <random>

#include "src/autograd/layer_maps.h"
#include "src/ops/elementwise/elementwise.h"
#include "src/ops/paged_attention/paged_attention.h"

namespace offbook::autograd {
namespace {

// Compares the gradient of Σ w·f(inputs) with central differences, in f32 on the reference and on
// the best CPU backend.
class GradientCheck {
 public:
  using Fn = std::function<Tensor(const Graph&, const std::vector<Tensor>&)>;

  GradientCheck& input(const Shape& shape, float scale = 1.0f) {
    Tensor t = Tensor::empty(Dtype::f32, shape);
    std::normal_distribution<float> normal(0, scale);
    for (int64_t i = 0; i < t.numel(); ++i) {
      t.data<float>()[i] = normal(rng_);
    }
    inputs_.push_back(t);
    return *this;
  }

  void run(const Fn& fn, double tolerance = 2e-3) {
    for (const backend::Backend backend :
         {backend::Backend::reference, backend::best_cpu_backend()}) {
      run_on(backend, fn, tolerance);
    }
  }

 private:
  double value(const ExecutionContext& ctx, const Fn& fn, const std::vector<float>& weights) {
    backend::ArenaScope scope(*ctx.arena);
    const Tensor out = fn(Graph{ctx}, inputs_);
    double total = 0;
    for (int64_t i = 0; i < out.numel(); ++i) {
      total += static_cast<double>(weights[static_cast<size_t>(i)]) * out.data<float>()[i];
    }
    return total;
  }

  void run_on(backend::Backend backend, const Fn& fn, double tolerance) {
    backend::ThreadPool pool(2);
    backend::Arena arena;
    const ExecutionContext ctx{.backend = backend, .pool = &pool, .arena = &arena};
    Tape tape(ctx);
    std::vector<Tensor> grads;
    for (const Tensor& t : inputs_) {
      grads.push_back(Tensor::zeros(Dtype::f32, t.shape()));
      tape.watch(t, grads.back());
    }
    const Tensor out = fn(Graph{ctx, &tape}, inputs_);
    std::vector<float> weights(static_cast<size_t>(out.numel()));
    std::normal_distribution<float> normal;
    for (float& w : weights) {
      w = normal(rng_);
    }
    const Tensor seed = tape.accumulator(out);
    std::copy(weights.begin(), weights.end(), seed.data<float>());
    tape.backward();

    for (size_t k = 0; k < inputs_.size(); ++k) {
      double error = 0;
      double norm = 0;
      float* x = inputs_[k].data<float>();
      for (int64_t i = 0; i < inputs_[k].numel(); ++i) {
        const float before = x[i];
        const float h = 1e-2f * std::max(1.0f, std::abs(before));
        x[i] = before + h;
        const double high = value(ctx, fn, weights);
        x[i] = before - h;
        const double low = value(ctx, fn, weights);
        x[i] = before;
        const double want = (high - low) / (2 * static_cast<double>(h));
        const double got = grads[k].data<float>()[i];
        error += (want - got) * (want - got);
        norm += want * want;
      }
      EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(norm) + 1e-4)
          << "input " << k << " on " << backend::to_string(backend);
    }
  }

  std::mt19937 rng_{7};
  std::vector<Tensor> inputs_;
};

Tensor ints(const std::vector<int32_t>& v, const Shape& shape) {
  Tensor t = Tensor::empty(Dtype::i32, shape);
  std::copy(v.begin(), v.end(), t.data<int32_t>());
  return t;
}
Tensor ints(const std::vector<int32_t>& v) {
  return ints(v, {static_cast<int64_t>(v.size())});
}

TEST(Gradient, RmsNorm) {
  GradientCheck().input({3, 10}).input({10}).run(
      [](const Graph& g, const auto& in) { return rms_norm(g, in[0], in[1], 1e-5f); });
}

TEST(Gradient, LinearWithBiasAndAccumulatedLora) {
  GradientCheck().input({5, 6}).input({4, 6}).input({4}).input({2, 6}).input({4, 2}).run(
      [](const Graph& g, const auto& in) {
        const Tensor y = linear(g, in[0], in[1], in[2]);
        const Tensor down = linear(g, in[0], in[3], Tensor());
        linear_into(g, down, in[4], 0.5f, y);
        return y;
      });
}

// Numbers that are not differentiated, the same in every run.
Tensor frozen(const Graph& g, const Shape& shape) {
  const Tensor t = g.ctx.make(Dtype::f32, shape);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.data<float>()[i] = static_cast<float>(i * 37 % 19) / 9 - 1;
  }
  return t;
}

TEST(Gradient, LinearOntoAResidual) {
  GradientCheck().input({5, 6}).input({4, 6}).run([](const Graph& g, const auto& in) {
    const Tensor stream = linear(g, in[0], in[1], Tensor());
    const Tensor once =
        linear_onto(g, in[0], frozen(g, {4, 6}), frozen(g, {4}), stream);  // more arrives at stream
    return linear_onto(g, once, frozen(g, {4, 4}), Tensor(), add(g, once, stream));
  });
}

TEST(Gradient, MapsThatKeepLess) {
  GradientCheck().input({5, 6}).input({6, 6}).run([](const Graph& g, const auto& in) {
    const Tensor stream = linear(g, in[0], in[1], Tensor());
    const Tensor both =
        normed_linear(g, stream, frozen(g, {6}), 1e-5f, frozen(g, {8, 6}), frozen(g, {8}));
    return gated_onto(g, both.slice(1, 0, 4), both.slice(1, 4, 8), frozen(g, {6, 4}), stream);
  });
}

// The weight behind the gate is trained; gate and up are, or are not.
TEST(Gradient, GatedRowsAreMadeAgain) {
  for (const bool is_frozen : {false, true}) {
    GradientCheck().input({5, 6}).input({8, 6}).input({6, 4}).run(
        [&](const Graph& g, const auto& in) {
          const Tensor x = is_frozen ? frozen(g, {5, 6}) : in[0];
          const Tensor both = linear(g, x, is_frozen ? frozen(g, {8, 6}) : in[1], Tensor());
          return gated_onto(g, both.slice(1, 0, 4), both.slice(1, 4, 8), in[2],
                            linear(g, in[0], in[1].slice(0, 0, 6), Tensor()));
        });
  }
}

// Queries, keys and values lie in one tensor and turn where they stand; keys are kept as they were.
TEST(Gradient, AttentionWithinOneTensor) {
  const Tensor positions = ints({0, 1, 2, 3, 4, 0});
  const Tensor kept = ints({1, 4});
  const Tensor sequences = ints({0, 5, 0, 0, 0, 5, 1, 5, 0, 0}, {2, ops::kAttentionSequenceFields});
  GradientCheck().input({6, 10}).input({32, 10}, 0.3f).run([&](const Graph& g, const auto& in) {
    const Tensor table = g.ctx.make(Dtype::f32, {6, 8});
    ops::rope_table(g.ctx, {.positions = positions, .inv_freq = frozen(g, {4}), .out = table});
    const Tensor all = linear(g, in[0], in[1], Tensor());
    const Tensor q = all.slice(1, 0, 16).split_axis(1, 8);
    const Tensor k = all.slice(1, 16, 24).split_axis(1, 8);
    const Tensor v = all.slice(1, 24, 32).split_axis(1, 8);
    const Tensor before = gather_rows(g, k, kept);
    rope_in_place(g, k, table);
    rope_in_place(g, q, table);
    const Tensor attended = attention(
        g, {.q = q, .k = k, .v = v, .sequences = sequences, .max_length = 5, .scale = 0.5f});
    return concat_rows(g, attended.merge_last(),
                       linear(g, before.merge_last(), frozen(g, {16, 8}), Tensor()));
  });
}

// Two matrices of one input, each with factors of its own; the input needs a gradient, or does not.
TEST(Gradient, FactorsAsColumnsOfTheirMatrix) {
  for (const bool is_frozen : {false, true}) {
    GradientCheck().input({5, 6}).input({3, 6}).input({4, 2}).input({3, 1}).run(
        [&](const Graph& g, const auto& in) {
          const AdaptedMatrix m{.weight = frozen(g, {7, 6}),
                                .bias = frozen(g, {7}),
                                .readers = in[1],
                                .writers = {in[2], in[3]},
                                .scale = 0.5f,
                                .residual = linear(g, in[0], frozen(g, {7, 6}), Tensor())};
          const Tensor wide = g.make(Dtype::f32, {5, 6 + columns_beside(m)});
          const Tensor norm = frozen(g, {6});
          rms_norm_into(g, is_frozen ? frozen(g, {5, 6}) : in[0], norm, 1e-5f, wide.slice(1, 0, 6));
          // A second pass over other rows takes the columns that the first set up.
          const Tensor other = g.make(Dtype::f32, {5, 6 + columns_beside(m)});
          rms_norm_into(g, m.residual.slice(1, 0, 6), norm, 1e-5f, other.slice(1, 0, 6));
          return add(g, adapted_linear(g, wide, m), adapted_linear(g, other, m));
        });
  }
}

// What attention makes lies beside columns of the matrix behind it.
TEST(Gradient, AttentionIntoPartOfATensor) {
  const Tensor sequences = ints({0, 3, 0, 0, 0, 3, 2, 3, 0, 0}, {2, 5});
  GradientCheck()
      .input({5, 2, 8})
      .input({5, 1, 8})
      .input({5, 1, 8})
      .input({3, 16})
      .input({4, 3})
      .run([&](const Graph& g, const auto& in) {
        const AdaptedMatrix m{.weight = frozen(g, {4, 16}), .readers = in[3], .writers = {in[4]}};
        const Tensor wide = g.make(Dtype::f32, {5, 16 + columns_beside(m)});
        attention_into(g, {.q = in[0],
                           .k = in[1],
                           .v = in[2],
                           .sequences = sequences,
                           .max_length = 3,
                           .scale = 0.5f,
                           .out = wide.slice(1, 0, 16).split_axis(1, 8)});
        return adapted_linear(g, wide, m);
      });
}

// A sum may give its gradient away instead of copying it, but only once, and never to a tensor that
// has one already or that is still to get more.
TEST(Gradient, SumsOfSumsAndOfTheSame) {
  GradientCheck().input({5, 6}).input({4, 6}).input({4, 6}).run([](const Graph& g, const auto& in) {
    const Tensor y = linear(g, in[0], in[1], Tensor());
    const Tensor z = linear(g, in[0], in[2], Tensor());
    const Tensor first = add(g, y, z);
    const Tensor twice = add(g, first, first);
    const Tensor again = add(g, twice, y);
    return add(g, z, add(g, again, first));
  });
}

TEST(Gradient, SwigluOfHalves) {
  GradientCheck().input({4, 6}).input({10, 6}).run([](const Graph& g, const auto& in) {
    const Tensor both = linear(g, in[0], in[1], Tensor());
    return swiglu(g, both.slice(1, 0, 5), both.slice(1, 5, 10));
  });
}

TEST(Gradient, RopeOfASlice) {
  const Tensor positions = ints({0, 3, 7});
  GradientCheck().input({3, 12}).run([&](const Graph& g, const auto& in) {
    const Tensor inv_freq = g.ctx.make(Dtype::f32, {2});
    inv_freq.data<float>()[0] = 1;
    inv_freq.data<float>()[1] = 0.1f;
    const Tensor table = g.ctx.make(Dtype::f32, {3, 4});
    ops::rope_table(g.ctx, {.positions = positions, .inv_freq = inv_freq, .out = table});
    return rope(g, in[0].slice(1, 4, 12).split_axis(1, 4), table);
  });
}

TEST(Gradient, AttentionWithASharedPrefix) {
  // Rows of k and v: 2 of the prefix, then own keys of two sequences of 3 and 2.
  const Tensor sequences = ints({0, 3, 2, 0, 2, 3, 2, 5, 0, 2}, {2, 5});
  GradientCheck().input({5, 4, 8}).input({7, 2, 8}).input({7, 2, 8}).run(
      [&](const Graph& g, const auto& in) {
        return attention(g, {.q = in[0],
                             .k = in[1],
                             .v = in[2],
                             .sequences = sequences,
                             .max_length = 3,
                             .max_prefix = 2,
                             .scale = 0.35f});
      });
}

TEST(Gradient, RowsAndMeans) {
  const Tensor index = ints({3, 0, 3});
  const Tensor places = ints({0, 2, 4});
  const Tensor others = ints({1, 3});
  const Tensor offsets = ints({0, 2, 5});
  GradientCheck().input({4, 6}).input({1}).input({6}).run([&](const Graph& g, const auto& in) {
    const Tensor picked = gather_rows(g, in[0], index);
    const Tensor mean = segment_mean(g, concat_rows(g, picked, in[0].slice(0, 1, 3)), offsets, 2);
    const Tensor out = g.make(Dtype::f32, {5, 6});
    scatter_rows(g, picked, places, out);
    scatter_rows(g, affine_rows(g, mean, in[1], in[2]), others, out);
    return add(g, out, out);
  });
}

TEST(Gradient, EmbeddingAndCrossEntropy) {
  const Tensor ids = ints({1, 3, 1, 0});
  const Tensor targets = ints({2, -1, 4, 0});
  GradientCheck().input({5, 6}).input({7, 6}).run([&](const Graph& g, const auto& in) {
    return linear_cross_entropy(g, embedding(g, ids, in[0], Dtype::f32), in[1], targets);
  });
}

TEST(Gradient, CheckpointGivesTheSame) {
  GradientCheck().input({4, 6}).input({6, 6}).input({6}).run(
      [](const Graph& g, const auto& in) {
        Tensor x = in[0];
        for (int layer = 0; layer < 3; ++layer) {
          const auto out = checkpoint(
              g, {{x.dtype(), x.shape()}, {x.dtype(), x.shape()}}, [x, in](const Graph& inner) {
                const Tensor inside =
                    linear(inner, rms_norm(inner, x, in[2], 1e-5f), in[1], Tensor());
                return std::vector<Tensor>{add(inner, x, inside), inside};
              });
          x = layer == 1 ? add(g, out[0], out[1]) : out[0];
        }
        return x;
      },
      5e-3);
}

TEST(Tape, FrozenInputsRecordNothing) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  const ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Tape tape(ctx);
  const Tensor x = Tensor::zeros(Dtype::f32, {2, 3});
  const Tensor w = Tensor::zeros(Dtype::f32, {3});
  rms_norm(Graph{ctx, &tape}, x, w, 1e-5f);
  EXPECT_EQ(tape.nodes(), 0u);
}

}  // namespace
}  // namespace offbook::autograd
