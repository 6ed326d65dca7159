#include <limits>

#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

TEST(Argmax, EqualsTheReference) {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 7}, Shape{2, 49152}, Shape{5, 1000}}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {  // bf16 has many equals: the lowest index wins
      testing::check("argmax " + to_string(shape), {.nmse = 0, .worst = 0}, [&](auto& ctx, auto& c) {
        const Tensor x = c.input(dtype, shape);
        argmax(ctx, {.x = x, .out = c.output(Dtype::i32, {shape[0]})});
      });
    }
  }
}

TEST(Argmax, NanAndInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  testing::check("argmax", {.nmse = 0, .worst = 0}, [&](auto& ctx, auto& c) {
    std::vector<float> row(40, -inf);
    row[3] = nan;
    row[17] = -5;
    row[39] = nan;
    const Tensor x = c.floats(row).reshape({1, 40});
    argmax(ctx, {.x = x, .out = c.output(Dtype::i32, {1})});
  });
}

}  // namespace
}  // namespace offbook::ops
