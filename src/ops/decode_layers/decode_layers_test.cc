#include "src/ops/decode_layers/decode_layers.h"

#include <cmath>

#include "src/ops/paged_attention/paged_attention.h"
#include "src/ops/registry.h"
#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

struct Sizes {
  std::string name;
  int64_t hidden = 576;
  int64_t heads = 9;
  int64_t kv_heads = 3;
  int64_t dim = 64;
  int64_t ffn = 1536;
  int32_t tokens = 1;  // in the cache, the new one included
  int layers = 2;
};

// Pages from the last to the first, and one more than needed, as the tests of paged attention.
DecodeLayersArgs args_of(Case& c, const Sizes& s, Dtype type, Dtype weight,
                         std::vector<DecodeLayer>& layers) {
  const int32_t pages = (s.tokens + kPageTokens - 1) / kPageTokens;
  std::vector<int32_t> list;
  for (int32_t i = pages; i > 0; --i) {
    list.push_back(i);
  }
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return c.input(weight, {rows, columns},
                   {.scale = 1.0f / std::sqrt(static_cast<float>(columns))});
  };
  const Shape cache{pages + 1, kPageTokens, s.kv_heads, s.dim};
  for (int i = 0; i < s.layers; ++i) {
    layers.push_back({.attn_norm = c.input(Dtype::f32, {s.hidden}),
                      .qkv = matrix((s.heads + 2 * s.kv_heads) * s.dim, s.hidden),
                      .o = matrix(s.hidden, s.heads * s.dim),
                      .ffn_norm = c.input(Dtype::f32, {s.hidden}),
                      .gate = matrix(s.ffn, s.hidden),
                      .up = matrix(s.ffn, s.hidden),
                      .down = matrix(s.hidden, s.ffn),
                      .k_pages = c.inout(Dtype::bf16, cache),
                      .v_pages = c.inout(Dtype::bf16, cache)});
  }
  // A rotation, so that its halves belong together.
  std::vector<float> table;
  for (const bool is_sine : {false, true}) {
    for (int64_t i = 0; i < s.dim / 2; ++i) {
      const float angle = 0.1f * static_cast<float>(i + s.tokens);
      table.push_back(is_sine ? std::sin(angle) : std::cos(angle));
    }
  }
  const int32_t last = s.tokens - 1;
  return {.layers = layers,
          .table = c.floats(table).reshape({1, s.dim}),
          .slots = c.ints({list.back() * kPageTokens + last % kPageTokens}),
          .page_list = c.ints(list),
          .sequences = c.ints({0, 1, s.tokens, 0}, {1, kPagedSequenceFields}),
          .max_kv_length = s.tokens + s.tokens / 4,
          .scale = 1.0f / std::sqrt(static_cast<float>(s.dim)),
          .x = c.inout(type, {1, s.hidden})};
}

class DecodeLayersOf : public ::testing::TestWithParam<Sizes> {};

TEST_P(DecodeLayersOf, EqualTheReference) {
  const auto run = [](ExecutionContext& ctx, Case& c, Dtype type, Dtype weight) {
    std::vector<DecodeLayer> layers;
    decode_layers(ctx, args_of(c, GetParam(), type, weight, layers));
  };
  const std::string name = "decode_layers " + GetParam().name;
  check(name + " f32", testing::Tolerance{.nmse = 1e-4, .worst = 2e-2},  // pages are bf16
        [&](auto& ctx, auto& c) { run(ctx, c, Dtype::f32, Dtype::f32); });
  check(name + " bf16", testing::Tolerance{.nmse = 3e-4, .worst = 3e-2},
        [&](auto& ctx, auto& c) { run(ctx, c, Dtype::bf16, Dtype::bf16); },
        {.compute = Compute::bf16});
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, DecodeLayersOf,
    ::testing::Values(Sizes{.name = "first_token"}, Sizes{.name = "second_page", .tokens = 65},
                      Sizes{.name = "few_splits", .tokens = 700},
                      Sizes{.name = "an_odd_layer", .tokens = 64, .layers = 3},
                      Sizes{.name = "one_layer", .tokens = 1000, .layers = 1},
                      Sizes{.name = "full_window", .tokens = 8192, .layers = 1},
                      Sizes{.name = "two_tiles", .tokens = 9000, .layers = 1},
                      Sizes{.name = "heads_of_128",
                            .hidden = 1024,
                            .heads = 8,
                            .kv_heads = 8,
                            .dim = 128,
                            .ffn = 512,
                            .tokens = 70},
                      Sizes{.name = "other_shape",
                            .hidden = 64,
                            .heads = 4,
                            .kv_heads = 2,
                            .dim = 16,
                            .ffn = 96,
                            .tokens = 70}),
    [](const auto& at) { return at.param.name; });

TEST(DecodeLayers, RefusesWhatDoesNotFit) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Case c(ctx, 1);
  std::vector<DecodeLayer> layers;
  const Sizes sizes{.name = "", .hidden = 32, .heads = 2, .kv_heads = 1, .dim = 16, .ffn = 32};
  const DecodeLayersArgs good = args_of(c, sizes, Dtype::f32, Dtype::f32, layers);
  const auto refused = [&](const char* word, const auto& change) {
    DecodeLayersArgs a = good;
    std::vector<DecodeLayer> mine = layers;
    a.layers = mine;
    change(a, mine);
    try {
      decode_layers(ctx, a);
      ADD_FAILURE() << "not refused: " << word;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::InvalidArgument);
      EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    }
  };
  decode_layers(ctx, good);
  refused("layers", [](auto& a, auto&) { a.layers = {}; });
  refused("x is", [&](auto& a, auto&) { a.x = a.x.reshape({2, 16}); });
  refused("a norm", [](auto&, auto& w) { w[1].ffn_norm = w[1].ffn_norm.slice(0, 0, 16); });
  refused("down is", [](auto&, auto& w) { w[0].down = w[0].gate.slice(1, 0, 16); });
  refused("pages are", [](auto&, auto& w) { w[1].v_pages = w[1].v_pages.slice(3, 0, 8); });
  refused("table", [](auto& a, auto&) { a.table = a.table.slice(1, 0, 8); });
  refused("scale", [](auto& a, auto&) { a.scale = 0; });
}

}  // namespace
}  // namespace offbook::ops
