#include "src/tensor/tensor.h"

namespace offbook {
namespace {

TEST(Tensor, ViewsShareStorage) {
  Tensor t = Tensor::zeros(Dtype::f32, {4, 6});
  Tensor part = t.slice(0, 1, 3).slice(1, 2, 4);
  EXPECT_EQ(part.shape(), (Shape{2, 2}));
  EXPECT_FALSE(part.is_contiguous());
  part.data<float>()[part.stride(0)] = 5;
  EXPECT_EQ(t.data<float>()[2 * 6 + 2], 5);
}

TEST(Tensor, SplitAxisOfAStridedTensor) {
  Tensor qkv = Tensor::zeros(Dtype::f32, {3, 10});
  Tensor heads = qkv.slice(1, 4, 10).split_axis(1, 3);
  EXPECT_EQ(heads.shape(), (Shape{3, 2, 3}));
  EXPECT_EQ(heads.stride(0), 10);
  EXPECT_EQ(heads.stride(1), 3);
  EXPECT_EQ(heads.data<float>() - qkv.data<float>(), 4);
}

TEST(Tensor, QuantisedRowsKeepWholeBlocks) {
  Tensor t = Tensor::zeros(Dtype::q4_1, {8, 64});
  EXPECT_EQ(t.bytes(), 8 * 2 * 20);
  EXPECT_EQ(t.row_stride_bytes(), 40);
  EXPECT_EQ(t.slice(0, 2, 4).raw() - t.raw(), 80);
  EXPECT_THROW(t.slice(1, 0, 32), Error);
  EXPECT_THROW(Tensor::zeros(Dtype::q4_1, {8, 33}), Error);
}

TEST(Tensor, StorageBoundsAreChecked) {
  auto storage = Storage::allocate(16);
  EXPECT_NO_THROW(Tensor(storage, Dtype::f32, {2}, 8));
  EXPECT_THROW(Tensor(storage, Dtype::f32, {3}, 8), Error);
  EXPECT_THROW(Tensor(storage, Dtype::f32, {1}, 20), Error);
}

TEST(Tensor, EmptyAxes) {
  Tensor t = Tensor::zeros(Dtype::f32, {0, 5});
  EXPECT_EQ(t.numel(), 0);
  EXPECT_EQ(t.bytes(), 0);
}

TEST(Dtype, UnknownNumberIsCorrupt) { EXPECT_THROW(dtype_info(static_cast<Dtype>(9)), Error); }

}  // namespace
}  // namespace offbook
