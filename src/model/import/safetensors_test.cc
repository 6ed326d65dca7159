#include "src/model/import/safetensors.h"

#include "src/base/file_system_memory.h"
#include "src/model/import/test_files.h"

namespace offbook::model {
namespace {

std::shared_ptr<const SafetensorsFile> parse(std::span<const std::byte> bytes) {
  auto owned = copy_bytes(bytes);
  return SafetensorsFile::parse({owned->data(), owned->bytes()}, "t.safetensors", owned);
}

std::vector<std::byte> lay_out(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string out(reinterpret_cast<const char*>(&length), 8);
  out += header;
  out.resize(out.size() + data_bytes);
  const auto bytes = std::as_bytes(std::span(out));
  return {bytes.begin(), bytes.end()};
}

std::map<std::string, Tensor> sample() {
  Tensor bytes = Tensor::zeros(Dtype::u8, {3});
  bytes.data<uint8_t>()[2] = 9;
  Tensor ids = Tensor::zeros(Dtype::i64, {2});
  ids.data<int64_t>()[1] = -4;
  return {{"a", bytes},
          {"b", counting_tensor({2, 3})},
          {"c", ids},
          {"d", Tensor::zeros(Dtype::bf16, {0, 4})}};
}

TEST(Safetensors, WrittenTensorsComeBack) {
  const auto file = parse(write_safetensors(sample(), {{"format", "pt"}}));
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_EQ(file->tensors().size(), 4u);
  EXPECT_EQ(file->tensor("a").data<uint8_t>()[2], 9);
  EXPECT_EQ(to_string(file->tensor("b")), "f32 [2, 3]");
  EXPECT_EQ(file->tensor("b").data<float>()[5], 5);
  EXPECT_EQ(file->tensor("c").data<int64_t>()[1], -4);
  EXPECT_EQ(file->tensor("d").numel(), 0);
  expect_error(ErrorCode::NotFound, "tensor x is missing", [&] { file->tensor("x"); });
}

TEST(Safetensors, TruncationsAndTrailingBytesAreRefused) {
  auto whole = write_safetensors(sample());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(parse(std::span(whole).first(size)), Error) << size;
  }
  whole.push_back(std::byte{0});
  expect_error(ErrorCode::Corrupt, "1 bytes after the last tensor", [&] { parse(whole); });
}

struct Lie {
  std::string name, header, message;
  size_t data_bytes = 8;
};

void PrintTo(const Lie& lie, std::ostream* out) {
  *out << lie.name;
}

class SafetensorsLies : public testing::TestWithParam<Lie> {};

TEST_P(SafetensorsLies, AreRefusedByName) {
  expect_error(ErrorCode::Corrupt, GetParam().message,
               [] { parse(lay_out(GetParam().header, GetParam().data_bytes)); });
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t": {"dtype": )" + dtype + R"(, "shape": )" + shape + R"(, "data_offsets": )" +
         offsets + "}}";
}

INSTANTIATE_TEST_SUITE_P(
    Headers, SafetensorsLies,
    testing::Values(
        Lie{"not_json", "{\"t\": ", "not JSON"}, Lie{"no_object", "[1]", "does not begin with '{'"},
        Lie{"empty", "", "does not begin"}, Lie{"trailing", "{} x", "not JSON", 0},
        Lie{"tensor_is_number", R"({"t": 1})", "tensor t: wanted an object, came the number 1"},
        Lie{"dtype_is_number", one("1", "[2]", "[0, 8]"), "field dtype: wanted a string"},
        Lie{"shape_is_string", one("\"F32\"", "\"2\"", "[0, 8]"), "field shape: wanted an array"},
        Lie{"shape_negative", one("\"F32\"", "[-2]", "[0, 8]"), "came the number -2"},
        Lie{"shape_fraction", one("\"F32\"", "[2.5]", "[0, 8]"), "came the number 2.5"},
        Lie{"shape_nested", one("\"F32\"", "[[2]]", "[0, 8]"), "came an array"},
        Lie{"shape_deep", one("\"F32\"", "[1, 1, 1, 1, 1, 2]", "[0, 8]"),
            "shape has more than 5 numbers"},
        Lie{"shape_wraps", one("\"F32\"", "[4294967296, 4294967297]", "[0, 8]"),
            "does not fit 64 bits"},
        Lie{"shape_past_int64", one("\"U8\"", "[0, 9223372036854775808]", "[0, 0]"), "elements"},
        Lie{"size_differs", one("\"F32\"", "[3]", "[0, 8]"),
            "F32 [3] takes 12 bytes, data_offsets give 8"},
        Lie{"offsets_one", one("\"F32\"", "[2]", "[8]"), "wanted [begin, end]"},
        Lie{"offsets_three", one("\"F32\"", "[2]", "[0, 4, 8]"), "data_offsets has more than 2"},
        Lie{"offsets_reversed", one("\"F32\"", "[2]", "[8, 0]"), "wanted [begin, end]"},
        Lie{"past_end", one("\"F32\"", "[4]", "[0, 16]"), "the file holds 8"},
        Lie{"gap", one("\"F32\"", "[1]", "[4, 8]"), "leave a gap"},
        Lie{"unknown_field", R"({"t": {"kind": 1}})", "field kind is not known"},
        Lie{"field_twice", R"({"t": {"dtype": "F32", "dtype": "F32"}})",
            "field dtype is there twice"},
        Lie{"field_missing", R"({"t": {"dtype": "F32", "shape": [2]}})", "came dtype, shape"},
        Lie{"tensor_twice",
            R"({"t": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "t": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}})",
            "tensor t is there twice"},
        Lie{"overlap",
            R"({"t": {"dtype": "U8", "shape": [6], "data_offsets": [0, 6]},
                "u": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}})",
            "tensors overlap"},
        Lie{"metadata_number", R"({"__metadata__": {"a": 1}})",
            "wanted a string, came the number 1", 0},
        Lie{"empty_name", R"({"": {}})", "name is empty"},
        Lie{"deep", R"({"t": )" + std::string(1000, '{'), "not JSON"}),
    [](const auto& info) { return info.param.name; });

TEST(Safetensors, HeaderLengthIsCapped) {
  auto bytes = lay_out("{}", 0);
  const uint64_t length = 100'000'001;
  std::memcpy(bytes.data(), &length, 8);
  expect_error(ErrorCode::Corrupt, "at most 100000000", [&] { parse(bytes); });
}

TEST(Safetensors, ForeignTypesAreRefusedOnlyWhenAskedFor) {
  const auto file = parse(lay_out(one("\"F8_E4M3\"", "[8]", "[0, 8]"), 8));
  expect_error(ErrorCode::Unsupported, "stored as F8_E4M3", [&] { file->tensor("t"); });
}

class ShardedTest : public testing::Test {
 protected:
  void SetUp() override {
    fs_.create_directories("m");
    put("m/1.safetensors", write_safetensors({{"a", counting_tensor({2})}}));
    put("m/2.safetensors", write_safetensors({{"b", counting_tensor({2}, 7)}}));
  }
  void put(const std::string& path, std::span<const std::byte> bytes) {
    write_file_atomically(fs_, path, bytes);
  }
  void index(const std::string& map) {
    const std::string text = R"({"weight_map": )" + map + "}";
    put("m/model.safetensors.index.json", std::as_bytes(std::span(text)));
  }
  MemoryFileSystem fs_;
};

TEST_F(ShardedTest, TensorsOfAllShards) {
  index(R"({"a": "1.safetensors", "b": "2.safetensors"})");
  const auto model = SafetensorsModel::open(fs_, "m");
  EXPECT_EQ(model->shards().size(), 2u);
  EXPECT_EQ(model->tensor("b").data<float>()[0], 7);
  expect_error(ErrorCode::NotFound, "m: tensor c is missing", [&] { model->tensor("c"); });
}

TEST_F(ShardedTest, LyingIndexes) {
  const auto open = [&] { SafetensorsModel::open(fs_, "m"); };
  expect_error(ErrorCode::NotFound, "holds neither", open);
  index(R"({"a": "2.safetensors"})");
  expect_error(ErrorCode::Corrupt, "tensor a is not in 2.safetensors", open);
  index(R"({"a": "../m/1.safetensors"})");
  expect_error(ErrorCode::Corrupt, "not a plain file name", open);
  index(R"({"a": 3})");
  expect_error(ErrorCode::Corrupt, "wanted a file name", open);
  index("[]");
  expect_error(ErrorCode::Corrupt, "weight_map", open);
  index(R"({"a": "3.safetensors"})");
  expect_error(ErrorCode::NotFound, "3.safetensors", open);
}

TEST_F(ShardedTest, ATensorInTwoShards) {
  put("m/2.safetensors",
      write_safetensors({{"a", counting_tensor({2})}, {"b", counting_tensor({2})}}));
  index(R"({"a": "1.safetensors", "b": "2.safetensors"})");
  expect_error(ErrorCode::Corrupt, "tensor a is in two shards",
               [&] { SafetensorsModel::open(fs_, "m"); });
}

}  // namespace
}  // namespace offbook::model
