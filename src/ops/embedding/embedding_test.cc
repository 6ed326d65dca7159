#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;

TEST(Embedding, ReadsRowsOfEveryType) {
  for (const Dtype table : {Dtype::f32, Dtype::bf16, Dtype::f16, Dtype::q8_0, Dtype::q4_1, Dtype::q6_k}) {
    for (const Dtype out : {Dtype::f32, Dtype::bf16}) {
      testing::check("embedding of " + std::string(dtype_info(table).name),
                     out == Dtype::f32 ? testing::Tolerance{.nmse = 1e-13, .worst = 1e-6} : testing::bf16_tolerance(),
                     [&](auto& ctx, auto& c) {
                       const Tensor ids = c.ints({3, 0, 9, 3});
                       const Tensor t = c.input(table, {10, 256});
                       embedding(ctx, {.ids = ids, .table = t, .out = c.output(out, {4, 256})});
                     });
    }
  }
}

TEST(Embedding, GradientAddsRepeatedIds) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    testing::check("embedding_backward", testing::f32_tolerance(4), [&](auto& ctx, auto& c) {
      const Tensor ids = c.ints({1, 4, 1, 1});
      const Tensor d_out = c.input(dtype, {4, 70});
      embedding_backward(ctx, {.ids = ids, .d_out = d_out, .d_table = c.inout(Dtype::f32, {5, 70})});
    });
  }
}

TEST(Embedding, IdOutsideTheTableIsRefused) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Tensor ids = Tensor::zeros(Dtype::i32, {1});
  ids.data<int32_t>()[0] = 5;
  const Tensor table = Tensor::zeros(Dtype::f32, {5, 2});
  EXPECT_THROW(embedding(ctx, {.ids = ids, .table = table, .out = Tensor::empty(Dtype::f32, {1, 2})}), Error);
}

}  // namespace
}  // namespace offbook::ops
