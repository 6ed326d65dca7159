#include "src/model/packed_file.h"

#include "src/base/error.h"
#include "src/base/file_system_memory.h"

namespace offbook::model {
namespace {

const std::string kModel(32, 'a');

Tensor counted(Dtype dtype, const Shape& shape) {
  const Tensor t = Tensor::empty(dtype, shape);
  for (int64_t i = 0; i < t.bytes(); ++i) {
    t.raw()[i] = static_cast<std::byte>(i % 61);
  }
  return t;
}

class PackedFile : public testing::Test {
 protected:
  PackedFile() {
    const ops::PackedMatrix qkv = ops::pack_rows(pool_, qkv_);
    const ops::PackedMatrix gated = ops::pack_alternating(pool_, gated_[0], gated_[1]);
    write_packed(fs_, "w.packed", kModel, std::array{&qkv, &gated});
    file_ = fs_.open("w.packed");
    whole_.assign(file_->bytes().begin(), file_->bytes().end());
  }
  void rewrite(size_t at, int flip) {
    std::vector<std::byte> bytes = whole_;
    bytes[at] ^= static_cast<std::byte>(flip);
    write_file_atomically(fs_, "w.packed", bytes);
  }

  MemoryFileSystem fs_;
  backend::ThreadPool pool_{1};
  std::vector<Tensor> qkv_{counted(Dtype::q4_1, {32, 64}), counted(Dtype::q8_0, {16, 64})};
  std::vector<Tensor> gated_{counted(Dtype::q4_0, {16, 32}), counted(Dtype::q4_0, {16, 32})};
  std::unique_ptr<ReadableFile> file_;
  std::vector<std::byte> whole_;
};

TEST_F(PackedFile, GivesBackWhatWasWritten) {
  PackedReader reader(fs_, "w.packed", kModel);
  const ops::PackedMatrix qkv = reader.next(qkv_, PackedOrder::stacked);
  const ops::PackedMatrix want = ops::pack_rows(pool_, qkv_);
  EXPECT_EQ(qkv.rows, 48);
  ASSERT_EQ(qkv.parts.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_EQ(qkv.parts[i].panels.shape(), want.parts[i].panels.shape());
    EXPECT_EQ(0, std::memcmp(qkv.parts[i].panels.raw(), want.parts[i].panels.raw(),
                             static_cast<size_t>(want.parts[i].panels.bytes())));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(qkv.parts[i].panels.raw()) % 64,
              reinterpret_cast<uintptr_t>(qkv.parts[0].panels.raw()) % 64);
  }
  EXPECT_EQ(reader.next(gated_, PackedOrder::alternating).rows, 32);
  EXPECT_THROW(reader.next(gated_, PackedOrder::alternating), Error);
}

TEST_F(PackedFile, RefusesDamageOtherModelsAndOtherWeights) {
  EXPECT_THROW(PackedReader(fs_, "w.packed", std::string(32, 'b')), Error);
  EXPECT_THROW(PackedReader(fs_, "none.packed", kModel), Error);
  PackedReader reader(fs_, "w.packed", kModel);
  EXPECT_THROW(reader.next(gated_, PackedOrder::stacked), Error);
  for (size_t at = 0; at < whole_.size(); at += 41) {
    rewrite(at, 1);
    EXPECT_THROW(PackedReader(fs_, "w.packed", kModel), Error) << at;
  }
  for (const size_t size : {size_t{0}, size_t{63}, whole_.size() - 64}) {
    write_file_atomically(fs_, "w.packed", std::span(whole_).first(size));
    EXPECT_THROW(PackedReader(fs_, "w.packed", kModel), Error) << size;
  }
}

}  // namespace
}  // namespace offbook::model
