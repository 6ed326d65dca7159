#include <fstream>

#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

constexpr Dtype kQuantised[] = {Dtype::q8_0, Dtype::q4_0, Dtype::q4_1, Dtype::q5_0,
                                Dtype::q5_1, Dtype::q4_k, Dtype::q5_k, Dtype::q6_k};
constexpr testing::Tolerance kExact{.nmse = 0, .worst = 0};

TEST(Dequantize, EveryTypeHasTheReferencesBits) {
  for (const Dtype dtype : kQuantised) {
    const int64_t block = dtype_info(dtype).block_elems;
    for (const Dtype to : {Dtype::f32, Dtype::bf16}) {
      for (const bool misaligned : {false, true}) {
        check(std::string(dtype_info(dtype).name), kExact, [&](auto& ctx, auto& c) {
          const Tensor x = c.input(dtype, {5, 3 * block}, {.misaligned = misaligned});
          dequantize(ctx, {.x = x, .out = c.output(to, {5, 3 * block})});
        });
      }
    }
  }
}

TEST(Dequantize, PlainTypes) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const Dtype to : {Dtype::f32, Dtype::bf16}) {
      for (const Shape& shape : {Shape{3, 37}, Shape{0, 4}, Shape{2, 1}, Shape{70, 1100}}) {
        check("plain", kExact, [&](auto& ctx, auto& c) {
          const Tensor x = c.input(dtype, shape, {.strided = true});
          dequantize(ctx, {.x = x, .out = c.output(to, shape)});
        });
      }
    }
  }
}

// Blocks and their values as NumPy computes them (tools/golden/quantised.py): name, counts, bytes.
TEST(Dequantize, EqualsAnIndependentDecoder) {
  std::ifstream file("src/ops/dequantize/testdata/quantised.bin", std::ios::binary);
  ASSERT_TRUE(file);
  for (const Dtype dtype : kQuantised) {
    uint32_t header[3] = {};  // dtype number, values, bytes
    file.read(reinterpret_cast<char*>(header), sizeof header);
    ASSERT_EQ(header[0], static_cast<uint32_t>(dtype));
    const Tensor x = Tensor::empty(dtype, {1, header[1]});
    ASSERT_EQ(x.bytes(), header[2]);
    std::vector<float> want(header[1]);
    file.read(reinterpret_cast<char*>(x.raw()), header[2]);
    file.read(reinterpret_cast<char*>(want.data()), header[1] * 4);
    ASSERT_TRUE(file);
    std::vector<Backend> backends = testing::available_backends();
    backends.push_back(Backend::reference);
    for (const Backend backend : backends) {
      if (backend == Backend::cuda) {
        continue;  // host tensors; compared with the reference above
      }
      backend::ThreadPool pool(1);
      const ExecutionContext ctx{.backend = backend, .pool = &pool};
      const Tensor out = Tensor::empty(Dtype::f32, {1, header[1]});
      dequantize(ctx, {.x = x, .out = out});
      EXPECT_EQ(std::memcmp(out.raw(), want.data(), want.size() * 4), 0)
          << dtype_info(dtype).name << " on " << backend::to_string(backend);
    }
  }
}

TEST(Dequantize, RefusesWrongShapesAndTypes) {
  backend::ThreadPool pool(1);
  const ExecutionContext ctx{.pool = &pool};
  const Tensor x = Tensor::zeros(Dtype::q8_0, {2, 32});
  EXPECT_THROW(dequantize(ctx, {.x = x, .out = Tensor::empty(Dtype::f32, {2, 31})}), Error);
  EXPECT_THROW(dequantize(ctx, {.x = x, .out = Tensor::empty(Dtype::f16, {2, 32})}), Error);
  EXPECT_THROW(dequantize(ctx, {.x = Tensor::zeros(Dtype::i32, {2, 32}), .out = x}), Error);
  EXPECT_THROW(dequantize(ctx, {.x = Tensor(), .out = x}), Error);
}

}  // namespace
}  // namespace offbook::ops
