// Lying and broken GGUF files, laid out by hand so that each field can lie on its own.
#include <functional>

#include "src/model/import/gguf.h"
#include "src/model/import/gguf_writer.h"
#include "src/model/import/test_files.h"

namespace offbook::model {
namespace {

struct TensorFields {
  std::string name = "t";
  std::vector<uint64_t> dims = {8};
  uint32_t type = 0;
  uint64_t offset = 0;
};

struct Fields {
  uint32_t magic = kGgufMagic;
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count, entry_count;  // of the lists below where absent
  std::vector<std::string> entries;                   // whole pairs as bytes
  std::vector<TensorFields> tensors = {TensorFields{}};
  std::optional<uint32_t> rank;
  size_t data_bytes = 32;
};

template <typename T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::string text(const std::string& s) {
  return raw(uint64_t{s.size()}) + s;
}

std::vector<std::byte> lay_out(const Fields& f) {
  std::string out = raw(f.magic) + raw(f.version) + raw(f.tensor_count.value_or(f.tensors.size())) +
                    raw(f.entry_count.value_or(f.entries.size()));
  for (const std::string& entry : f.entries) {
    out += entry;
  }
  for (const TensorFields& t : f.tensors) {
    out += text(t.name) + raw(f.rank.value_or(static_cast<uint32_t>(t.dims.size())));
    for (const uint64_t dim : t.dims) {
      out += raw(dim);
    }
    out += raw(t.type) + raw(t.offset);
  }
  out.resize((out.size() + 31) / 32 * 32 + f.data_bytes);
  const auto bytes = std::as_bytes(std::span(out));
  return {bytes.begin(), bytes.end()};
}

struct Lie {
  std::string name;
  ErrorCode code;
  std::string message;
  std::function<void(Fields&)> tell;
};

void PrintTo(const Lie& lie, std::ostream* out) {
  *out << lie.name;
}

class GgufLies : public testing::TestWithParam<Lie> {};

TEST_P(GgufLies, AreRefusedByName) {
  Fields fields;
  ASSERT_NO_THROW(parse_gguf(lay_out(fields)));
  GetParam().tell(fields);
  expect_error(GetParam().code, GetParam().message, [&] { parse_gguf(lay_out(fields)); });
}

constexpr uint32_t kU32 = 4, kF32 = 6, kString = 8, kArray = 9;
constexpr ErrorCode kCorrupt = ErrorCode::Corrupt;

INSTANTIATE_TEST_SUITE_P(
    Fields, GgufLies,
    testing::Values(
        Lie{"magic", kCorrupt, "not a GGUF file", [](Fields& f) { f.magic = 0x12345678; }},
        Lie{"version1", ErrorCode::Unsupported, "GGUF version 1", [](Fields& f) { f.version = 1; }},
        Lie{"version9", ErrorCode::Unsupported, "GGUF version 9", [](Fields& f) { f.version = 9; }},
        Lie{"big_endian", ErrorCode::Unsupported, "big-endian",
            [](Fields& f) { f.version = 3u << 24; }},
        Lie{"tensor_count", kCorrupt, "tensor count at offset 8",
            [](Fields& f) { f.tensor_count = UINT64_MAX; }},
        Lie{"entry_count", kCorrupt, "metadata count at offset 16",
            [](Fields& f) { f.entry_count = uint64_t{1} << 60; }},
        Lie{"key_length", kCorrupt, "at most 65535",
            [](Fields& f) { f.entries = {raw(uint64_t{1} << 40) + "k" + raw(kU32) + raw(1u)}; }},
        Lie{"empty_key", kCorrupt, "empty",
            [](Fields& f) { f.entries = {text("") + raw(kU32) + raw(1u)}; }},
        Lie{"value_type", kCorrupt, "type 13 is no value type",
            [](Fields& f) { f.entries = {text("k") + raw(13u) + raw(1u)}; }},
        Lie{"element_type", kCorrupt, "is no value type",
            [](Fields& f) { f.entries = {text("k") + raw(kArray) + raw(99u) + raw(uint64_t{0})}; }},
        Lie{"nested_array", ErrorCode::Unsupported, "arrays of arrays",
            [](Fields& f) {
              f.entries = {text("k") + raw(kArray) + raw(kArray) + raw(uint64_t{1})};
            }},
        Lie{"array_count", kCorrupt, "do not fit",
            [](Fields& f) {
              f.entries = {text("k") + raw(kArray) + raw(kF32) + raw(uint64_t{1} << 62)};
            }},
        Lie{"string_array_count", kCorrupt, "do not fit",
            [](Fields& f) {
              f.entries = {text("k") + raw(kArray) + raw(kString) + raw(uint64_t{1} << 61)};
            }},
        Lie{"string_length", kCorrupt, "remain",
            [](Fields& f) { f.entries = {text("k") + raw(kString) + raw(UINT64_MAX - 3)}; }},
        Lie{"twice_key", kCorrupt, "metadata key k is there twice",
            [](Fields& f) { f.entries.assign(2, text("k") + raw(kU32) + raw(1u)); }},
        Lie{"alignment_type", kCorrupt, "wanted an integer, came a value of type f32",
            [](Fields& f) { f.entries = {text("general.alignment") + raw(kF32) + raw(32.0f)}; }},
        Lie{"alignment_zero", kCorrupt, "0 is not in 8 to 65536",
            [](Fields& f) { f.entries = {text("general.alignment") + raw(kU32) + raw(0u)}; }},
        Lie{"alignment_odd", kCorrupt, "not a power of two",
            [](Fields& f) { f.entries = {text("general.alignment") + raw(kU32) + raw(24u)}; }},
        Lie{"alignment_huge", kCorrupt, "is not in 8 to 65536",
            [](Fields& f) { f.entries = {text("general.alignment") + raw(kU32) + raw(1u << 31)}; }},
        Lie{"rank_zero", kCorrupt, "rank 0", [](Fields& f) { f.rank = 0; }},
        Lie{"rank_five", kCorrupt, "rank 5", [](Fields& f) { f.rank = 5; }},
        Lie{"empty_axis", kCorrupt, "axis 1 has size 0",
            [](Fields& f) {
              f.tensors[0].dims = {8, 0};
            }},
        Lie{"negative_axis", kCorrupt, "axis 0 has size",
            [](Fields& f) { f.tensors[0].dims = {UINT64_MAX}; }},
        Lie{"numel_wraps", kCorrupt, "does not fit 64 bits",
            [](Fields& f) {
              f.tensors[0].dims = {uint64_t{1} << 42, uint64_t{1} << 42};
            }},
        Lie{"numel_past_int64", kCorrupt, "elements",
            [](Fields& f) {
              f.tensors[0].dims = {uint64_t{1} << 32, uint64_t{1} << 31};
            }},
        Lie{"bytes_wrap", kCorrupt, "does not fit 64 bits",
            [](Fields& f) { f.tensors[0].dims = {uint64_t{1} << 62}; }},
        Lie{"too_large", kCorrupt, "past the file's end",
            [](Fields& f) { f.tensors[0].dims = {9}; }},
        Lie{"offset_past_end", kCorrupt, "past the file's end",
            [](Fields& f) { f.tensors[0].offset = 32; }},
        Lie{"offset_wraps", kCorrupt, "does not fit 64 bits",
            [](Fields& f) { f.tensors[0].offset = UINT64_MAX - 31; }},
        Lie{"offset_unaligned", kCorrupt, "not a multiple of 32",
            [](Fields& f) { f.tensors[0].offset = 4; }},
        Lie{"unknown_type_past_end", kCorrupt, "past the file's end",
            [](Fields& f) { f.tensors[0] = {.type = 16, .offset = 1 << 20}; }},
        Lie{"partial_block", kCorrupt, "do not fill whole q8_0 blocks",
            [](Fields& f) { f.tensors[0] = {.dims = {16}, .type = 8}; }},
        Lie{"name_length", kCorrupt, "at most 1024",
            [](Fields& f) { f.tensors[0].name = std::string(1025, 'x'); }},
        Lie{"empty_name", kCorrupt, "empty", [](Fields& f) { f.tensors[0].name = ""; }},
        Lie{"twice_name", kCorrupt, "tensor t is there twice",
            [](Fields& f) {
              f.tensors = {TensorFields{}, TensorFields{.offset = 32}};
              f.data_bytes = 64;
            }},
        Lie{"overlap", kCorrupt, "overlap",
            [](Fields& f) {
              f.tensors = {TensorFields{.dims = {16}}, TensorFields{.name = "u", .offset = 32}};
              f.data_bytes = 64;
            }}),
    [](const auto& info) { return info.param.name; });

TEST(GgufHostile, UnknownTensorTypesAreListedAndRefusedOnlyWhenAskedFor) {
  Fields fields;
  fields.tensors[0].type = 17;
  const auto file = parse_gguf(lay_out(fields));
  ASSERT_EQ(file->tensors().size(), 1u);
  expect_error(ErrorCode::Unsupported, "stored as IQ2_XS", [&] { file->tensor("t"); });
}

TEST(GgufHostile, NamesAreMadeFitForATerminal) {
  Fields fields;
  fields.tensors[0].name = "\x1b[2J";
  fields.tensors[0].offset = 4;
  expect_error(kCorrupt, "\\x1b[2J", [&] { parse_gguf(lay_out(fields)); });
}

TEST(GgufHostile, BoolOtherThanZeroOrOne) {
  Fields fields;
  fields.entries = {text("b") + raw(7u) + "\x02"};
  const auto file = parse_gguf(lay_out(fields));
  expect_error(kCorrupt, "a bool is 0 or 1", [&] { file->find_bool("b"); });
}

TEST(GgufHostile, EveryTruncationIsRefused) {
  GgufWriter out;
  out.set_string("general.architecture", "llama");
  out.set_strings("tokens", std::vector<std::string>{"a", "bb"});
  out.set_f32s("scores", std::vector<float>{1, 2});
  out.add_tensor("t", counting_tensor({8}));
  const auto whole = out.bytes();
  ASSERT_NO_THROW(parse_gguf(whole));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(parse_gguf(std::span(whole).first(size)), Error) << size;
  }
}

}  // namespace
}  // namespace offbook::model
