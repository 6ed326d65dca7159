#include "src/metrics/split.h"

#include <array>

#include <openssl/sha.h>

namespace offbook::metrics {

std::string_view to_string(SplitPart part) noexcept {
  constexpr std::array<std::string_view, 3> kNames = {"train", "tune", "test"};
  return kNames[static_cast<size_t>(part)];
}

int split_hash(std::string_view document_id) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(document_id.data()), document_id.size(),
         digest.data());
  const uint32_t head = uint32_t{digest[0]} << 24 | uint32_t{digest[1]} << 16 |
                        uint32_t{digest[2]} << 8 | uint32_t{digest[3]};
  return static_cast<int>(head % 100);
}

SplitPart split_part(std::string_view document_id) {
  const int h = split_hash(document_id);
  return h < 70 ? SplitPart::train : h < 80 ? SplitPart::tune : SplitPart::test;
}

int split_fold(std::string_view document_id) {
  return split_hash(document_id) % kSplitFolds;
}

}  // namespace offbook::metrics
