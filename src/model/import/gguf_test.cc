#include "src/model/import/gguf.h"

#include <unistd.h>

#include "src/model/import/gguf_writer.h"
#include "src/model/import/test_files.h"

namespace offbook::model {
namespace {

std::vector<std::byte> sample() {
  GgufWriter out;
  out.set_string("general.architecture", "llama");
  out.set_u32("llama.block_count", 30);
  out.set_u64("big", uint64_t{1} << 63);
  out.set_i32("negative", -5);
  out.set_f32("eps", 1e-5f);
  out.set_bool("flag", true);
  out.set_strings("tokens", std::vector<std::string>{"a", "", "ccc"});
  out.set_f32s("scores", std::vector<float>{0.5f, -1});
  out.set_i32s("types", std::vector<int32_t>{1, 3});
  out.add_tensor("b", counting_tensor({2, 3}));
  Tensor quantised = Tensor::zeros(Dtype::q4_1, {4, 64});
  quantised.raw()[40] = std::byte{7};
  out.add_tensor("a", quantised);
  return out.bytes();
}

TEST(Gguf, WrittenValuesComeBack) {
  const auto file = parse_gguf(sample());
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->get_string("general.architecture"), "llama");
  EXPECT_EQ(file->get_int("llama.block_count", 1, 512), 30);
  EXPECT_EQ(file->get_int("negative", -10, 0), -5);
  EXPECT_EQ(file->find_float("eps"), 1e-5f);
  EXPECT_EQ(file->find_bool("flag"), true);
  EXPECT_THAT(*file->find_strings("tokens"), testing::ElementsAre("a", "", "ccc"));
  EXPECT_THAT(*file->find_floats("scores"), testing::ElementsAre(0.5f, -1.0f));
  EXPECT_THAT(*file->find_ints("types"), testing::ElementsAre(1, 3));
  EXPECT_FALSE(file->find_int("absent", 0, 1).has_value());
}

TEST(Gguf, TensorsAreViewsInRowMajorOrder) {
  const auto bytes = sample();
  auto owned = copy_bytes(bytes);
  const auto file = GgufFile::parse({owned->data(), owned->bytes()}, "t", owned);
  const Tensor b = file->tensor("b");
  EXPECT_EQ(b.shape(), (Shape{2, 3}));
  EXPECT_EQ(b.data<float>()[5], 5);
  EXPECT_GE(b.raw(), owned->data());
  EXPECT_LT(b.raw(), owned->data() + owned->bytes());
  const Tensor a = file->tensor("a");
  EXPECT_EQ(to_string(a), "q4_1 [4, 64]");
  EXPECT_EQ(*a.row_raw(1), std::byte{7});
}

TEST(Gguf, TensorOutlivesTheReader) {
  Tensor b;
  { b = parse_gguf(sample())->tensor("b"); }
  EXPECT_EQ(b.data<float>()[4], 4);
}

TEST(Gguf, MisalignedBytesAreCopied) {
  const auto bytes = sample();
  auto owned = Storage::allocate(bytes.size() + 1);
  std::memcpy(owned->data() + 1, bytes.data(), bytes.size());
  const auto file = GgufFile::parse({owned->data() + 1, bytes.size()}, "t", owned);
  EXPECT_EQ(file->tensor("b").data<float>()[3], 3);
}

TEST(Gguf, TypedGettersNameKeyWantedAndCame) {
  const auto file = parse_gguf(sample());
  expect_error(ErrorCode::Corrupt, "metadata scores at offset", [&] { file->find_ints("scores"); });
  expect_error(ErrorCode::Corrupt, "wanted an array of string, came an array of i32",
               [&] { file->find_strings("types"); });
  expect_error(ErrorCode::Corrupt, "wanted an integer, came a value of type f32",
               [&] { file->find_int("eps", 0, 1); });
  expect_error(ErrorCode::Corrupt, "wanted bool", [&] { file->find_bool("eps"); });
  expect_error(ErrorCode::Corrupt, "30 is not in 1 to 9",
               [&] { file->get_int("llama.block_count", 1, 9); });
  expect_error(ErrorCode::Corrupt, "is not in", [&] { file->get_int("big", 0, 100); });
  expect_error(ErrorCode::Corrupt, "metadata gone is missing",
               [&] { file->get_int("gone", 0, 1); });
  expect_error(ErrorCode::NotFound, "tensor gone is missing", [&] { file->tensor("gone"); });
}

TEST(Gguf, OpensAMappedFile) {
  std::string pattern = testing::TempDir() + "/offbook_gguf_XXXXXX";
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  const std::filesystem::path path = std::filesystem::path(pattern) / "m.gguf";
  write_file_atomically(real_file_system(), path, sample());
  EXPECT_EQ(GgufFile::open(real_file_system(), path)->tensor("b").data<float>()[1], 1);
  std::filesystem::remove_all(pattern);
}

TEST(GgufWriter, RefusesDoublesAndForeignTypes) {
  GgufWriter out;
  out.set_u32("k", 1);
  expect_error(ErrorCode::InvalidArgument, "metadata k was given twice",
               [&] { out.set_u32("k", 2); });
  expect_error(ErrorCode::Unsupported, "i64",
               [&] { out.add_tensor("t", Tensor::zeros(Dtype::i64, {2})); });
  expect_error(ErrorCode::InvalidArgument, "rank 1 to 4", [&] {
    out.add_tensor("t", Tensor::zeros(Dtype::f32, {1, 1, 1, 1, 1}));
  });
}

}  // namespace
}  // namespace offbook::model
