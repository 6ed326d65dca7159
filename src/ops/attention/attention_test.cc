#include <cmath>

#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

struct Layout {
  std::string name;
  int64_t heads = 2;
  int64_t kv_heads = 1;
  int64_t dim = 32;
  std::vector<AttentionSequence> sequences;
  Mask mask = Mask::causal;
  int32_t window = 0;
};

// Sequences of these lengths side by side, after a prefix that all of them share.
std::vector<AttentionSequence> packed(const std::vector<int32_t>& lengths, int32_t prefix = 0) {
  std::vector<AttentionSequence> out;
  int32_t at = 0;
  for (const int32_t length : lengths) {
    out.push_back({at, length, prefix + at, 0, prefix});
    at += length;
  }
  return out;
}

AttentionArgs args_of(Case& c, const Layout& l, Dtype dtype, const Tensor& qkv_rows) {
  int64_t rows = 0;
  int64_t keys = 0;
  AttentionArgs a{.mask = l.mask, .window = l.window};
  std::vector<int32_t> table;
  for (const AttentionSequence& s : l.sequences) {
    table.insert(table.end(), {s.query_begin, s.length, s.own_begin, s.prefix_begin, s.prefix_len});
    rows = std::max<int64_t>(rows, s.query_begin + s.length);
    keys = std::max<int64_t>({keys, s.own_begin + s.length, s.prefix_begin + s.prefix_len});
    a.max_length = std::max(a.max_length, s.length);
    a.max_prefix = std::max(a.max_prefix, s.prefix_len);
  }
  a.scale = 1.0f / std::sqrt(static_cast<float>(l.dim));
  a.q = qkv_rows.defined() ? qkv_rows : c.input(dtype, {rows, l.heads, l.dim});
  a.k = c.input(dtype, {keys, l.kv_heads, l.dim});
  a.v = c.input(dtype, {keys, l.kv_heads, l.dim});
  a.sequences = c.ints(table, {static_cast<int64_t>(l.sequences.size()), kAttentionSequenceFields});
  a.out = c.output(dtype, {rows, l.heads, l.dim});
  a.lse = c.output(Dtype::f32, {rows, l.heads});
  return a;
}

std::vector<Layout> layouts() {
  return {
      {"one token", 2, 1, 32, packed({1})},
      {"lengths 5, 0, 1, 70", 9, 3, 64, packed({5, 0, 1, 70})},
      {"nothing", 2, 1, 32, packed({0, 0})},
      {"length 200", 4, 4, 40, packed({200})},
      {"length 300, three chunk borders", 6, 1, 8, packed({300, 530})},
      {"prefix 1", 9, 3, 64, packed({5, 1, 17}, 1)},
      {"prefix 65", 8, 2, 80, packed({5, 70}, 65)},
      {"prefix 130", 3, 3, 128, packed({1, 5, 40}, 130)},
      {"LLaMA-2 heads, 256 alone", 4, 4, 128, packed({256})},
      {"LLaMA-3 heads, 300 and 65", 8, 2, 128, packed({300, 65, 0, 16})},
      {"SmolLM2 heads over a prefix of 200", 9, 3, 64, packed({130, 64, 33}, 200)},
      {"256 over a prefix of 256", 4, 2, 64, packed({256}, 256)},
      {"full, 150 over 70", 4, 2, 64, packed({150, 20}, 70), Mask::full},
      {"two prefixes in turn",
       4,
       2,
       128,
       {{0, 40, 100, 0, 60}, {40, 70, 140, 60, 40}, {110, 17, 210, 0, 100}}},
      {"own keys that overlap", 4, 2, 64, {{0, 40, 0, 0, 0}, {40, 70, 20, 0, 0}}},
      {"prefix 300", 2, 2, 256, packed({5, 3}, 300)},
      {"MiniLM", 12, 12, 32, packed({70, 5, 1}), Mask::full},
      {"full with prefix", 4, 2, 96, packed({20, 3}, 65), Mask::full},
      {"window 7", 9, 3, 64, packed({70, 5}), Mask::causal, 7},
      {"window 100 over a prefix", 32, 8, 16, packed({5, 33}, 130), Mask::causal, 100},
      {"window 1", 2, 1, 24, packed({10}), Mask::causal, 1},
      {"window 300 over chunks", 2, 1, 16, packed({600}), Mask::causal, 300},
      {"full with a window", 2, 1, 16, packed({40}, 300), Mask::full, 30},
      {"own keys before the prefix", 2, 1, 16, {{0, 5, 0, 9, 4}, {5, 3, 5, 9, 2}}},
  };
}

TEST(Attention, EqualsTheReference) {
  for (const Layout& l : layouts()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      check("attention " + std::string(dtype_info(dtype).name) + " " + l.name,
            dtype == Dtype::f32 ? testing::f32_tolerance(l.dim) : testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) { attention(ctx, args_of(c, l, dtype, {})); });
      check("attention bf16 compute " + std::string(dtype_info(dtype).name) + " " + l.name,
            testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) { attention(ctx, args_of(c, l, dtype, {})); },
            {.compute = Compute::bf16});
    }
  }
}

TEST(Attention, ReadsQueriesOfAFusedProjection) {
  const Layout l{"fused", 9, 3, 64, packed({5, 40})};
  check("attention strided q", testing::f32_tolerance(64), [&](auto& ctx, auto& c) {
    const Tensor rows = c.input(Dtype::f32, {45, (9 + 3 + 3) * 64}, {.strided = true});
    attention(ctx, args_of(c, l, Dtype::f32, rows.slice(1, 64, 10 * 64).split_axis(1, 64)));
  });
}

TEST(Attention, MixesTypesOfQueriesAndKeys) {
  const Layout l{"mixed", 6, 2, 64, packed({30}, 65)};
  for (const Compute compute : {Compute::f32, Compute::bf16}) {
    check("attention f32 over bf16", testing::bf16_tolerance(),
          [&](auto& ctx, auto& c) {
            const Tensor q = c.input(Dtype::f32, {30, 6, 64});
            attention(ctx, args_of(c, l, Dtype::bf16, q));
          },
          {.compute = compute});
  }
}

TEST(Attention, BackwardEqualsTheReference) {
  for (const Layout& l : layouts()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const Compute compute : {Compute::f32, Compute::bf16}) {
        const bool is_exact = dtype == Dtype::f32 && compute == Compute::f32;
        check("attention_backward " + std::string(dtype_info(dtype).name) + " " + l.name +
                  (compute == Compute::bf16 ? ", bf16 factors" : ""),
              is_exact ? testing::f32_tolerance(1000) : testing::bf16_tolerance(),
              [&](auto& ctx, auto& c) {
                const AttentionArgs a = args_of(c, l, dtype, {});
                attention(ctx, a);
                attention_backward(ctx, {.forward = a,
                                         .d_out = c.input(dtype, a.q.shape()),
                                         .d_q = c.inout(Dtype::f32, a.q.shape()),
                                         .d_k = c.inout(Dtype::f32, a.k.shape()),
                                         .d_v = c.inout(Dtype::f32, a.v.shape())});
              },
              {.compute = compute});
      }
    }
  }
}

TEST(Attention, BackwardAddsToBf16Gradients) {
  const Layout l{"bf16 gradients", 6, 2, 64, packed({30, 5}, 65)};
  for (const Compute compute : {Compute::f32, Compute::bf16}) {
    check("attention_backward into bf16", testing::bf16_tolerance(),
          [&](auto& ctx, auto& c) {
            const AttentionArgs a = args_of(c, l, Dtype::bf16, {});
            attention(ctx, a);
            attention_backward(ctx, {.forward = a,
                                     .d_out = c.input(Dtype::f32, a.q.shape()),
                                     .d_q = c.inout(Dtype::bf16, a.q.shape()),
                                     .d_k = c.inout(Dtype::bf16, a.k.shape()),
                                     .d_v = c.inout(Dtype::bf16, a.v.shape())});
          },
          {.compute = compute});
  }
}

TEST(Attention, BackwardOverwrites) {
  // A row of keys that no sequence reads, and queries of none, get 0.
  const std::vector<Layout> some = {
      {"alone", 4, 2, 64, packed({256})},
      {"two over a prefix", 4, 2, 64, packed({30, 70}, 65)},
      {"gaps", 4, 2, 64, {{3, 40, 10, 0, 0}, {60, 20, 70, 0, 0}}},
  };
  for (const Layout& l : some) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      check("attention_backward overwrites " + std::string(dtype_info(dtype).name) + " " + l.name,
            dtype == Dtype::f32 ? testing::f32_tolerance(1000) : testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) {
              AttentionArgs a = args_of(c, l, dtype, {});
              fill(ctx, {.value = 0, .out = a.out});
              fill(ctx, {.value = 0, .out = a.lse});
              attention(ctx, a);
              attention_backward(ctx, {.forward = a,
                                       .d_out = c.input(dtype, a.q.shape()),
                                       .d_q = c.output(dtype, a.q.shape()),
                                       .d_k = c.output(dtype, a.k.shape()),
                                       .d_v = c.output(dtype, a.v.shape()),
                                       .write_q = Write::overwrite,
                                       .write_k = Write::overwrite,
                                       .write_v = Write::overwrite});
            });
    }
  }
}

// Host tensors for the cases below, which look at single elements.
class AttentionOnHost : public ::testing::TestWithParam<Backend> {
 protected:
  Case make_case(uint64_t seed) { return Case(ctx_, seed); }
  backend::ThreadPool pool_{2};
  backend::Arena arena_;
  ExecutionContext ctx_{.backend = GetParam(), .pool = &pool_, .arena = &arena_};
};

std::vector<Backend> host_backends() {
  std::vector<Backend> out = testing::available_backends();
  std::erase(out, Backend::cuda);
  return out;
}

INSTANTIATE_TEST_SUITE_P(Cpu, AttentionOnHost, ::testing::ValuesIn(host_backends()));

TEST_P(AttentionOnHost, NeverReadsKeysOutsideItsSequences) {
  Case c = make_case(1);
  const Layout l{"", 6, 2, 64, {{0, 5, 10, 20, 7}, {5, 3, 40, 20, 7}}};
  const AttentionArgs a = args_of(c, l, Dtype::f32, {});
  const auto unused = [](int64_t row) {
    return row < 10 || (row >= 15 && row < 20) || (row >= 27 && row < 40);
  };
  for (int64_t row = 0; row < a.k.dim(0); ++row) {
    if (unused(row)) {
      std::fill_n(a.k.data<float>() + row * 128, 128, NAN);
      std::fill_n(a.v.data<float>() + row * 128, 128, NAN);
    }
  }
  const AttentionBackwardArgs b{.forward = a,
                                .d_out = c.input(Dtype::f32, a.q.shape()),
                                .d_q = Tensor::zeros(Dtype::f32, a.q.shape()),
                                .d_k = Tensor::zeros(Dtype::f32, a.k.shape()),
                                .d_v = Tensor::zeros(Dtype::f32, a.v.shape())};
  for (const Compute compute : {Compute::f32, Compute::bf16}) {
    ctx_.compute = compute;
    attention(ctx_, a);
    attention_backward(ctx_, b);
    for (const Tensor& t : {a.out, b.d_q, b.d_k, b.d_v}) {
      for (int64_t i = 0; i < t.numel(); ++i) {
        ASSERT_TRUE(std::isfinite(t.data<float>()[i])) << i;
      }
    }
  }
}

class AttentionBits : public AttentionOnHost {
 protected:
  void expect_rows_stand_alone(Compute compute);
};
INSTANTIATE_TEST_SUITE_P(Cpu, AttentionBits, ::testing::ValuesIn(host_backends()));

void AttentionBits::expect_rows_stand_alone(Compute compute) {
  ctx_.compute = compute;
  Case c = make_case(2);
  const Layout all{"", 9, 3, 64, packed({7, 1, 90, 2}, 300)};
  const AttentionArgs a = args_of(c, all, Dtype::f32, {});
  attention(ctx_, a);
  for (size_t i = 0; i < all.sequences.size(); ++i) {
    const AttentionSequence& s = all.sequences[i];
    for (const int32_t t : {0, s.length / 2, s.length - 1}) {  // the last of t + 1 tokens
      AttentionSequence cut = s;
      cut.length = t + 1;
      AttentionArgs one = a;
      one.out = c.output(Dtype::f32, a.q.shape());
      one.sequences =
          c.ints({cut.query_begin, cut.length, cut.own_begin, cut.prefix_begin, cut.prefix_len},
                 {1, kAttentionSequenceFields});
      attention(ctx_, one);
      const int64_t at = (s.query_begin + t) * 9 * 64;
      for (int64_t e = 0; e < 9 * 64; ++e) {
        ASSERT_EQ(a.out.data<float>()[at + e], one.out.data<float>()[at + e]) << i << " " << t;
      }
    }
  }
}

TEST_P(AttentionBits, ARowHasTheSameAloneAndAmongOthers) {
  expect_rows_stand_alone(Compute::f32);
  expect_rows_stand_alone(Compute::bf16);
}

TEST_P(AttentionOnHost, LargeScoresStayFinite) {
  Case c = make_case(3);
  const Layout l{"", 2, 1, 32, packed({300})};
  AttentionArgs a = args_of(c, l, Dtype::f32, c.input(Dtype::f32, {300, 2, 32}, {.scale = 1e4f}));
  attention(ctx_, a);
  for (int64_t i = 0; i < a.out.numel(); ++i) {
    ASSERT_TRUE(std::isfinite(a.out.data<float>()[i])) << i;
  }
}

TEST_P(AttentionOnHost, AllocatesNothingInSteadyState) {
  Case c = make_case(4);
  const AttentionArgs a = args_of(c, {"", 9, 3, 64, packed({70}, 300)}, Dtype::f32, {});
  attention(ctx_, a);
  const size_t blocks = arena_.blocks_allocated();
  const backend::Arena::Mark mark = arena_.mark();
  attention(ctx_, a);
  EXPECT_EQ(arena_.blocks_allocated(), blocks);
  EXPECT_EQ(arena_.mark().used, mark.used);
}

// Σ out · d_out in double: the loss whose gradient attention_backward computes.
double loss(const ExecutionContext& ctx, const AttentionBackwardArgs& b) {
  attention(ctx, b.forward);
  double sum = 0;
  for (int64_t i = 0; i < b.d_out.numel(); ++i) {
    sum += static_cast<double>(b.forward.out.data<float>()[i]) * b.d_out.data<float>()[i];
  }
  return sum;
}

void expect_central_differences(const ExecutionContext& reference, const AttentionBackwardArgs& b,
                                const Tensor& x, const Tensor& d_x) {
  constexpr float kStep = 1.0f / 64;  // truncation 1e-4, rounding of out 1e-5
  for (int64_t i = 0; i < x.numel(); ++i) {
    const float at = x.data<float>()[i];
    x.data<float>()[i] = at + kStep;
    const double above = loss(reference, b);
    x.data<float>()[i] = at - kStep;
    const double below = loss(reference, b);
    x.data<float>()[i] = at;
    EXPECT_NEAR(d_x.data<float>()[i], (above - below) / (2 * kStep), 2e-3) << i;
  }
}

TEST_P(AttentionOnHost, GradientsAreThoseOfCentralDifferences) {
  for (const Layout& l : {Layout{"", 4, 2, 8, packed({3, 2}, 2)},
                          Layout{"", 2, 2, 8, packed({4}, 3), Mask::causal, 2},
                          Layout{"", 2, 1, 8, packed({3, 2}), Mask::full}}) {
    Case c = make_case(6);
    const AttentionArgs a = args_of(c, l, Dtype::f32, {});
    const AttentionBackwardArgs b{.forward = a,
                                  .d_out = c.input(Dtype::f32, a.q.shape()),
                                  .d_q = Tensor::zeros(Dtype::f32, a.q.shape()),
                                  .d_k = Tensor::zeros(Dtype::f32, a.k.shape()),
                                  .d_v = Tensor::zeros(Dtype::f32, a.v.shape())};
    attention(ctx_, a);
    attention_backward(ctx_, b);
    ExecutionContext reference = ctx_;
    reference.backend = Backend::reference;
    expect_central_differences(reference, b, a.q, b.d_q);
    expect_central_differences(reference, b, a.k, b.d_k);
    expect_central_differences(reference, b, a.v, b.d_v);
  }
}

TEST(Attention, HandCase) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  const Tensor q = Tensor::zeros(Dtype::f32, {2, 1, 8});
  const Tensor k = Tensor::zeros(Dtype::f32, {2, 1, 8});
  const Tensor v = Tensor::zeros(Dtype::f32, {2, 1, 8});
  q.data<float>()[8] = 1;
  k.data<float>()[8] = std::log(3.0f);  // weights 1/4 and 3/4 for the second query
  v.data<float>()[0] = 4;
  v.data<float>()[8] = 8;
  const Tensor sequences = Tensor::zeros(Dtype::i32, {1, kAttentionSequenceFields});
  sequences.data<int32_t>()[1] = 2;
  AttentionArgs a{.q = q, .k = k, .v = v, .sequences = sequences, .max_length = 2, .scale = 1};
  a.out = Tensor::empty(Dtype::f32, {2, 1, 8});
  a.lse = Tensor::empty(Dtype::f32, {2, 1});
  attention(ctx, a);
  EXPECT_FLOAT_EQ(a.out.data<float>()[0], 4);
  EXPECT_FLOAT_EQ(a.out.data<float>()[8], 7);
  EXPECT_FLOAT_EQ(a.lse.data<float>()[1], std::log(4.0f));
}

TEST(Attention, RefusesWhatDoesNotFit) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Case c(ctx, 1);
  const AttentionArgs good = args_of(c, {"", 4, 2, 32, packed({5, 6}, 3)}, Dtype::f32, {});
  const auto refused = [&](const char* word, const auto& change) {
    AttentionArgs a = good;
    change(a);
    try {
      attention(ctx, a);
      ADD_FAILURE() << "not refused: " << word;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::InvalidArgument);
      EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    }
  };
  const auto table = [&](int field, int32_t value) {
    return [&, field, value](AttentionArgs& a) {
      std::vector<int32_t> v(good.sequences.data<int32_t>(), good.sequences.data<int32_t>() + 10);
      v[static_cast<size_t>(field)] = value;
      a.sequences = c.ints(v, {2, kAttentionSequenceFields});
    };
  };
  attention(ctx, good);
  refused("scale", [](AttentionArgs& a) { a.scale = 0; });
  refused("window", [](AttentionArgs& a) { a.window = -1; });
  refused("max_length", [](AttentionArgs& a) { a.max_length = 5; });
  refused("max_prefix", [](AttentionArgs& a) { a.max_prefix = 2; });
  refused("out", [&](AttentionArgs& a) { a.out = good.k; });
  refused("lse", [&](AttentionArgs& a) { a.lse = good.k; });
  refused("v has", [&](AttentionArgs& a) { a.v = good.k.slice(0, 0, 5); });
  refused("k is", [&](AttentionArgs& a) { a.k = good.k.slice(2, 0, 8); });
  refused("multiple of 2 key heads", [&](AttentionArgs& a) { a.q = good.q.slice(1, 0, 3); });
  refused("multiple of 8", [&](AttentionArgs& a) { a.q = good.q.slice(2, 0, 7); });
  refused("length -1", table(1, -1));
  refused("queries 4+6", table(5, 4));
  refused("queries 6+6", table(5, 6));
  refused("keys -1+5", table(2, -1));
  refused("keys 9+6", table(7, 9));
  refused("keys 12+3", table(3, 12));
  refused("keys 0+-3", table(4, -3));
}

}  // namespace
}  // namespace offbook::ops
