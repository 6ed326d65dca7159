// A bounded cursor over the bytes of a file that nobody vouches for.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "src/base/error.h"

namespace offbook::model {

// Reads little-endian values in order; every read is checked against the bytes that remain.
// Borrows bytes and name. Errors: Corrupt with file, field and offset. Not thread-safe.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string_view file)
      : bytes_(bytes), file_(file) {}

  uint64_t offset() const noexcept { return offset_; }
  uint64_t remaining() const noexcept { return bytes_.size() - offset_; }

  // The next n bytes.
  std::span<const std::byte> take(uint64_t n, std::string_view field) {
    OB_REQUIRE(n <= remaining(), Corrupt, "{}: {} at offset {}: wanted {} bytes, {} remain", file_,
               field, offset_, n, remaining());
    const auto out = bytes_.subspan(offset_, n);
    offset_ += n;
    return out;
  }

  template <typename T>
  T read(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  // A string with a 64-bit length in front, at most max_bytes long; a view into the bytes.
  std::string_view read_string(std::string_view field, uint64_t max_bytes = UINT64_MAX) {
    const uint64_t at = offset_;
    const auto length = read<uint64_t>(field);
    OB_REQUIRE(length <= max_bytes, Corrupt,
               "{}: {} at offset {}: {} bytes long, at most {} allowed", file_, field, at, length,
               max_bytes);
    const auto text = take(length, field);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view file_;
  uint64_t offset_ = 0;
};

}  // namespace offbook::model
