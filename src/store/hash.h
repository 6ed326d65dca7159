// XXH3-128 as the store writes it: canonical byte order, 32 lower-case hex digits.
#pragma once
#include <array>
#include <span>
#include <string>
#include <string_view>

namespace offbook::store {

using Digest = std::array<std::byte, 16>;

// Streaming, so that a checksum may skip its own field.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  Hasher& add(std::span<const std::byte> bytes);
  // Length first, so that ("ab", "c") and ("a", "bc") differ.
  Hasher& add_text(std::string_view text);
  Digest digest() const;

 private:
  void* state_;
};

std::string to_hex(const Digest& digest);
// False unless 32 lower-case hex digits.
bool is_hex_digest(std::string_view text) noexcept;
// is_hex_digest must hold.
Digest from_hex(std::string_view text);

}  // namespace offbook::store
