// Typed access to the metadata of a GGUF file.
#include <algorithm>
#include <cmath>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/model/import/byte_reader.h"
#include "src/model/import/gguf.h"

namespace offbook::model {
namespace {

bool is_integer(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::u16:
    case GgufType::i16:
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::u64:
    case GgufType::i64:
      return true;
    default:
      return false;
  }
}

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

// The value of an integer type as int64; values of u64 above its range saturate, which every
// caller's upper bound then refuses.
int64_t load_int(GgufType type, const std::byte* at) {
  switch (type) {
    case GgufType::u8:
      return load<uint8_t>(at);
    case GgufType::i8:
      return load<int8_t>(at);
    case GgufType::u16:
      return load<uint16_t>(at);
    case GgufType::i16:
      return load<int16_t>(at);
    case GgufType::u32:
      return load<uint32_t>(at);
    case GgufType::i32:
      return load<int32_t>(at);
    case GgufType::u64:
      return static_cast<int64_t>(std::min<uint64_t>(load<uint64_t>(at), INT64_MAX));
    default:
      return load<int64_t>(at);
  }
}

std::string describe(const GgufEntry& entry) {
  return entry.type == GgufType::array ? "an array of " + gguf_type_name(entry.element)
                                       : "a value of type " + gguf_type_name(entry.type);
}

[[noreturn]] void wrong_type(const std::string& file, const GgufEntry& entry,
                             std::string_view wanted) {
  OB_THROW(Corrupt, "{}: metadata {} at offset {}: wanted {}, came {}", file, printable(entry.key),
           entry.offset, wanted, describe(entry));
}

const GgufEntry& require(const std::string& file, const GgufEntry* entry, std::string_view key) {
  OB_REQUIRE(entry != nullptr, Corrupt, "{}: metadata {} is missing", file, key);
  return *entry;
}

}  // namespace

std::optional<int64_t> GgufFile::find_int(std::string_view key, int64_t low, int64_t high) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) {
    return std::nullopt;
  }
  if (!is_integer(entry->type)) {
    wrong_type(file_, *entry, "an integer");
  }
  const int64_t value = load_int(entry->type, entry->payload.data());
  OB_REQUIRE(value >= low && value <= high, Corrupt,
             "{}: metadata {} at offset {}: {} is not in {} to {}", file_, key, entry->offset,
             value, low, high);
  return value;
}

std::optional<double> GgufFile::find_float(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) {
    return std::nullopt;
  }
  double value = 0;
  if (entry->type == GgufType::f32) {
    value = load<float>(entry->payload.data());
  } else if (entry->type == GgufType::f64) {
    value = load<double>(entry->payload.data());
  } else {
    wrong_type(file_, *entry, "f32 or f64");
  }
  OB_REQUIRE(std::isfinite(value), Corrupt, "{}: metadata {} at offset {} is not a finite number",
             file_, key, entry->offset);
  return value;
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) {
    return std::nullopt;
  }
  if (entry->type != GgufType::boolean) {
    wrong_type(file_, *entry, "bool");
  }
  const auto value = load<uint8_t>(entry->payload.data());
  OB_REQUIRE(value <= 1, Corrupt, "{}: metadata {} at offset {}: a bool is 0 or 1, not {}", file_,
             key, entry->offset, value);
  return value == 1;
}

std::optional<std::string_view> GgufFile::find_string(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) {
    return std::nullopt;
  }
  if (entry->type != GgufType::string) {
    wrong_type(file_, *entry, "a string");
  }
  return ByteReader(entry->payload, file_).read_string(key);
}

std::optional<std::vector<std::string_view>> GgufFile::find_strings(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) {
    return std::nullopt;
  }
  if (entry->type != GgufType::array || entry->element != GgufType::string) {
    wrong_type(file_, *entry, "an array of string");
  }
  std::vector<std::string_view> out;
  out.reserve(entry->count);
  ByteReader in(entry->payload, file_);
  for (uint64_t i = 0; i < entry->count; ++i) {
    out.push_back(in.read_string(key));
  }
  return out;
}

std::optional<std::vector<float>> GgufFile::find_floats(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) {
    return std::nullopt;
  }
  if (entry->type != GgufType::array || entry->element != GgufType::f32) {
    wrong_type(file_, *entry, "an array of f32");
  }
  std::vector<float> out(entry->count);
  if (!out.empty()) {
    std::memcpy(out.data(), entry->payload.data(), entry->payload.size());
  }
  return out;
}

std::optional<std::vector<int32_t>> GgufFile::find_ints(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) {
    return std::nullopt;
  }
  if (entry->type != GgufType::array ||
      (entry->element != GgufType::i32 && entry->element != GgufType::u32)) {
    wrong_type(file_, *entry, "an array of i32 or u32");
  }
  std::vector<int32_t> out(entry->count);
  for (uint64_t i = 0; i < entry->count; ++i) {
    const int64_t value = load_int(entry->element, entry->payload.data() + 4 * i);
    OB_REQUIRE(value <= INT32_MAX, Corrupt, "{}: metadata {} element {}: {} does not fit 31 bits",
               file_, key, i, value);
    out[i] = static_cast<int32_t>(value);
  }
  return out;
}

int64_t GgufFile::get_int(std::string_view key, int64_t low, int64_t high) const {
  require(file_, find(key), key);
  return *find_int(key, low, high);
}

double GgufFile::get_float(std::string_view key) const {
  require(file_, find(key), key);
  return *find_float(key);
}

std::string_view GgufFile::get_string(std::string_view key) const {
  require(file_, find(key), key);
  return *find_string(key);
}

}  // namespace offbook::model
