#include <cctype>
#include <cmath>
#include <numeric>

#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

struct Layout {
  std::string name;
  int64_t heads = 9;
  int64_t kv_heads = 3;
  int64_t dim = 64;
  std::vector<std::pair<int32_t, int32_t>> sequences;  // queries, tokens in the cache
  int32_t window = 0;
};
std::ostream& operator<<(std::ostream& out, const Layout& l) {
  return out << l.name;
}

// Pages are handed out from the last to the first, so that neighbours in a sequence are not
// neighbours in memory; there is one page more than needed.
PagedAttentionArgs args_of(Case& c, const Layout& l, Dtype q_type, Dtype kv_type) {
  PagedAttentionArgs a{.window = l.window};
  std::vector<int32_t> table;
  int32_t rows = 0;
  int32_t pages = 0;
  for (const auto& [length, keys] : l.sequences) {
    table.insert(table.end(), {rows, length, keys, pages});
    rows += length;
    pages += (keys + kPageTokens - 1) / kPageTokens;
    a.max_length = std::max(a.max_length, length);
    a.max_kv_length = std::max(a.max_kv_length, keys);
  }
  std::vector<int32_t> list;
  for (int32_t i = pages; i > 0; --i) {
    list.push_back(i);
  }
  a.scale = 1.0f / std::sqrt(static_cast<float>(l.dim));
  a.q = c.input(q_type, {rows, l.heads, l.dim}, {.strided = true});
  a.k_pages = c.input(kv_type, {pages + 1, kPageTokens, l.kv_heads, l.dim});
  a.v_pages = c.input(kv_type, {pages + 1, kPageTokens, l.kv_heads, l.dim});
  a.page_list = c.ints(list);
  a.sequences = c.ints(table, {static_cast<int64_t>(l.sequences.size()), kPagedSequenceFields});
  a.out = c.output(q_type, {rows, l.heads, l.dim});
  return a;
}

std::vector<Layout> layouts() {
  return {
      {"first token", 9, 3, 64, {{1, 1}}},
      {"decode, one row", 9, 3, 64, {{1, 700}}},
      {"decode, eight rows",
       9,
       3,
       64,
       {{1, 1}, {1, 63}, {1, 64}, {1, 65}, {1, 300}, {1, 256}, {1, 257}, {1, 600}}},
      {"decode, many splits", 4, 2, 128, {{1, 3000}, {2, 900}, {1, 64}}},
      {"decode, many splits of groups", 32, 8, 64, {{1, 1500}, {3, 700}}},
      {"decode, no groups", 12, 12, 32, {{1, 300}, {1, 20}}},
      {"decode, dim 80", 8, 2, 80, {{1, 300}}},
      {"decode, dim 256", 2, 1, 256, {{2, 270}}},
      {"prefill after a cached part", 9, 3, 64, {{70, 200}, {5, 5}}},
      {"prefill and decode", 32, 8, 16, {{1, 130}, {40, 40}, {0, 0}, {3, 530}}},
      {"a long chunk beside a token", 4, 4, 128, {{300, 700}, {1, 130}, {40, 40}, {0, 0}}},
      {"a first chunk in groups", 8, 2, 128, {{256, 256}}},
      {"a later chunk of one sequence", 4, 2, 128, {{256, 768}}},
      {"a token alone, without groups", 32, 32, 128, {{1, 2000}}},
      {"window 50", 9, 3, 64, {{1, 700}, {70, 200}}, 50},
      {"window 300", 4, 1, 40, {{1, 700}, {270, 600}}, 300},
  };
}

// A test each, so that shards share them.
class PagedLayouts : public ::testing::TestWithParam<Layout> {};

TEST_P(PagedLayouts, EqualTheReference) {
  const Layout& l = GetParam();
  check("paged_attention f32 " + l.name, testing::f32_tolerance(l.dim),
        [&](auto& ctx, auto& c) { paged_attention(ctx, args_of(c, l, Dtype::f32, Dtype::f32)); });
  check("paged_attention f32 over bf16 " + l.name, testing::f32_tolerance(l.dim),
        [&](auto& ctx, auto& c) { paged_attention(ctx, args_of(c, l, Dtype::f32, Dtype::bf16)); });
  check("paged_attention bf16 compute " + l.name, testing::bf16_tolerance(),
        [&](auto& ctx, auto& c) { paged_attention(ctx, args_of(c, l, Dtype::f32, Dtype::bf16)); },
        {.compute = Compute::bf16});
  check("paged_attention bf16 " + l.name, testing::bf16_tolerance(),
        [&](auto& ctx, auto& c) { paged_attention(ctx, args_of(c, l, Dtype::bf16, Dtype::bf16)); });
}

INSTANTIATE_TEST_SUITE_P(Paged, PagedLayouts, ::testing::ValuesIn(layouts()), [](const auto& at) {
  std::string name = at.param.name;
  std::erase_if(name, [](char c) { return std::isalnum(c) == 0; });
  return name;
});

// A chunk of one sequence whose pages follow one another, and a caller who says so.
TEST(PagedAttention, ReadsNeighbouringPagesWhereTheyLie) {
  for (const auto& [length, keys] : {std::pair{256, 256}, {256, 768}, {300, 500}, {1, 70}}) {
    for (const Dtype dtype : {Dtype::bf16, Dtype::f32}) {
      const std::string name = fmt::format("paged_attention {} of {} in place", length, keys);
      const auto tolerance =
          dtype == Dtype::bf16 ? testing::bf16_tolerance() : testing::f32_tolerance(128);
      check(name, tolerance, [&, length = length, keys = keys](auto& ctx, auto& c) {
        const int32_t pages = (keys + kPageTokens - 1) / kPageTokens;
        constexpr int32_t kFirst = 3;
        std::vector<int32_t> list(static_cast<size_t>(pages));
        std::iota(list.begin(), list.end(), kFirst);
        const Shape cache{kFirst + pages + 1, kPageTokens, 2, 128};
        paged_attention(ctx, {.q = c.input(dtype, {length, 4, 128}),
                              .k_pages = c.input(dtype, cache),
                              .v_pages = c.input(dtype, cache),
                              .page_list = c.ints(list),
                              .sequences = c.ints({0, length, keys, 0}, {1, kPagedSequenceFields}),
                              .max_length = length,
                              .max_kv_length = keys,
                              .scale = 0.1f,
                              .first_page = kFirst,
                              .out = c.output(dtype, {length, 4, 128})});
      });
    }
  }
}

TEST(KvWrite, EqualsTheReference) {
  const auto body = [](ExecutionContext& ctx, Case& c, Dtype from, Dtype to) {
    kv_write(ctx, {.k = c.input(from, {4, 3, 24}, {.strided = true}),
                   .v = c.input(from, {4, 3, 24}),
                   .table = c.input(Dtype::f32, {4, 24}),
                   .slots = c.ints({130, 0, 63, 64}),
                   .k_pages = c.inout(to, {3, kPageTokens, 3, 24}),
                   .v_pages = c.inout(to, {3, kPageTokens, 3, 24})});
  };
  for (const Dtype from : {Dtype::f32, Dtype::bf16}) {
    for (const Dtype to : {Dtype::f32, Dtype::bf16}) {
      check("kv_write", to == Dtype::f32 ? testing::f32_tolerance(2) : testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) { body(ctx, c, from, to); });
    }
  }
}

TEST(KvWrite, RotatesQueriesWhereTheyStand) {
  for (const int64_t dim : {24, 64}) {
    for (const Dtype type : {Dtype::f32, Dtype::bf16}) {
      check("kv_write with queries",
            type == Dtype::f32 ? testing::f32_tolerance(2) : testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) {
              kv_write(ctx, {.k = c.input(type, {3, 2, dim}),
                             .v = c.input(type, {3, 2, dim}, {.strided = true}),
                             .table = c.input(Dtype::f32, {3, dim}),
                             .slots = c.ints({1, 64, 66}),
                             .k_pages = c.inout(Dtype::bf16, {2, kPageTokens, 2, dim}),
                             .v_pages = c.inout(Dtype::bf16, {2, kPageTokens, 2, dim}),
                             .q = c.inout(type, {3, 6, dim})});
            });
    }
  }
}

class PagedOnHost : public ::testing::TestWithParam<Backend> {
 protected:
  // The output of one query alone: query t of sequence i, with the cache as it was for t.
  std::vector<float> alone(Case& c, const PagedAttentionArgs& a, int64_t i, int32_t t) {
    const auto* s = reinterpret_cast<const PagedSequence*>(a.sequences.raw()) + i;
    PagedAttentionArgs one = a;
    one.q = a.q.slice(0, s->query_begin + t, s->query_begin + t + 1);
    one.out = c.output(a.out.dtype(), one.q.shape());
    one.sequences = c.ints({0, 1, s->kv_length - s->length + t + 1, s->pages_begin}, {1, 4});
    one.max_length = 1;
    paged_attention(ctx_, one);
    return {one.out.data<float>(), one.out.data<float>() + one.out.numel()};
  }
  void expect_rows_stand_alone(const Layout& l, Dtype kv_type, Compute compute) {
    ctx_.compute = compute;
    Case c(ctx_, 7);
    const PagedAttentionArgs a = args_of(c, l, Dtype::f32, kv_type);
    paged_attention(ctx_, a);
    const auto* s = reinterpret_cast<const PagedSequence*>(a.sequences.raw());
    for (int64_t i = 0; i < a.sequences.dim(0); ++i) {
      for (int32_t t = 0; t < s[i].length; t += 1 + s[i].length / 5) {
        const float* row = a.out.data<float>() + (s[i].query_begin + t) * l.heads * l.dim;
        ASSERT_EQ(alone(c, a, i, t), std::vector<float>(row, row + l.heads * l.dim))
            << l.name << ", sequence " << i << ", query " << t;
      }
    }
  }
  backend::ThreadPool pool_{2};
  backend::Arena arena_;
  ExecutionContext ctx_{.backend = GetParam(), .pool = &pool_, .arena = &arena_};
};

std::vector<Backend> host_backends() {
  std::vector<Backend> out = testing::available_backends();
  std::erase(out, Backend::cuda);
  return out;
}

INSTANTIATE_TEST_SUITE_P(Cpu, PagedOnHost, ::testing::ValuesIn(host_backends()));

TEST_P(PagedOnHost, DecodeHasTheBitsOfPrefillAndOfABatch) {
  for (const Layout& l : layouts()) {
    expect_rows_stand_alone(l, Dtype::f32, Compute::f32);
    expect_rows_stand_alone(l, Dtype::bf16, Compute::f32);
    expect_rows_stand_alone(l, Dtype::bf16, Compute::bf16);
  }
}

TEST_P(PagedOnHost, NeverReadsUnusedSlots) {
  for (const int32_t window : {0, 70}) {
    Case c(ctx_, 3);
    const Layout l{"", 9, 3, 64, {{1, 300}, {30, 130}, {1, 5}}, window};
    const PagedAttentionArgs a = args_of(c, l, Dtype::f32, Dtype::f32);
    std::vector<bool> used(static_cast<size_t>(a.k_pages.dim(0) * kPageTokens));
    const auto* s = reinterpret_cast<const PagedSequence*>(a.sequences.raw());
    for (int64_t i = 0; i < 3; ++i) {
      const int first = window > 0 ? std::max(0, s[i].kv_length - s[i].length + 1 - window) : 0;
      for (int j = first; j < s[i].kv_length; ++j) {
        const int page = a.page_list.data<int32_t>()[s[i].pages_begin + j / kPageTokens];
        used[static_cast<size_t>(page * kPageTokens + j % kPageTokens)] = true;
      }
    }
    for (size_t slot = 0; slot < used.size(); ++slot) {
      if (!used[slot]) {
        std::fill_n(a.k_pages.data<float>() + slot * 192, 192, NAN);
        std::fill_n(a.v_pages.data<float>() + slot * 192, 192, NAN);
      }
    }
    paged_attention(ctx_, a);
    for (int64_t i = 0; i < a.out.numel(); ++i) {
      ASSERT_TRUE(std::isfinite(a.out.data<float>()[i])) << "window " << window << ", " << i;
    }
  }
}

TEST_P(PagedOnHost, AllocatesNothingInSteadyState) {
  Case c(ctx_, 4);
  const PagedAttentionArgs a = args_of(c, {"", 9, 3, 64, {{1, 700}}}, Dtype::f32, Dtype::bf16);
  paged_attention(ctx_, a);
  const size_t blocks = arena_.blocks_allocated();
  paged_attention(ctx_, a);
  EXPECT_EQ(arena_.blocks_allocated(), blocks);
}

TEST(PagedAttention, RefusesWhatDoesNotFit) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Case c(ctx, 1);
  const PagedAttentionArgs good =
      args_of(c, {"", 4, 2, 32, {{1, 100}, {5, 70}}}, Dtype::f32, Dtype::f32);
  const auto refused = [&](const char* word, const auto& change) {
    PagedAttentionArgs a = good;
    change(a);
    try {
      paged_attention(ctx, a);
      ADD_FAILURE() << "not refused: " << word;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::InvalidArgument);
      EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    }
  };
  const auto table = [&](int field, int32_t value) {
    return [&, field, value](PagedAttentionArgs& a) {
      std::vector<int32_t> v(good.sequences.data<int32_t>(), good.sequences.data<int32_t>() + 8);
      v[static_cast<size_t>(field)] = value;
      a.sequences = c.ints(v, {2, kPagedSequenceFields});
    };
  };
  paged_attention(ctx, good);
  refused("scale", [](PagedAttentionArgs& a) { a.scale = 0; });
  refused("max_length", [](PagedAttentionArgs& a) { a.max_length = 4; });
  refused("kv_length 100", [](PagedAttentionArgs& a) { a.max_kv_length = 99; });
  refused("kv_length 4", table(6, 4));
  refused("kv_length 0", table(2, 0));
  refused("queries 0+5", table(4, 0));
  refused("entries 3+2", table(7, 3));
  refused("entries -1+2", table(3, -1));
  refused("page 1 of sequence 0", [&](PagedAttentionArgs& a) {
    a.page_list = c.ints({1, 5, 2, 3});
  });
  refused("k_pages", [&](PagedAttentionArgs& a) { a.k_pages = good.k_pages.slice(3, 0, 8); });
}

TEST(KvWrite, RefusesWhatDoesNotFit) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Case c(ctx, 1);
  KvWriteArgs a{.k = c.input(Dtype::f32, {2, 1, 8}),
                .v = c.input(Dtype::f32, {2, 1, 8}),
                .table = c.input(Dtype::f32, {2, 8}),
                .slots = c.ints({0, 63}),
                .k_pages = c.inout(Dtype::f32, {1, kPageTokens, 1, 8}),
                .v_pages = c.inout(Dtype::f32, {1, kPageTokens, 1, 8})};
  kv_write(ctx, a);
  for (const auto& slots : {std::vector<int32_t>{0, 64}, {-1, 0}, {0, 1, 2}}) {
    KvWriteArgs bad = a;
    bad.slots = c.ints(slots);
    EXPECT_THROW(kv_write(ctx, bad), Error);
  }
  KvWriteArgs bad = a;
  bad.v_pages = c.inout(Dtype::bf16, {1, kPageTokens, 1, 8});
  EXPECT_THROW(kv_write(ctx, bad), Error);
}

}  // namespace
}  // namespace offbook::ops
