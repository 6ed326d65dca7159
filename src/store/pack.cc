#include "src/store/pack.h"

#include <zstd.h>

#include "src/base/error.h"

namespace offbook::store {
namespace {

constexpr int kLevel = 3;

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 128; value >>= 7) {
    out += static_cast<char>(value | 128);
  }
  out += static_cast<char>(value);
}

// Signed differences with small numbers either way near zero.
uint64_t zigzag(int64_t value) {
  return static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63);
}
int64_t unzigzag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

class VarintReader {
 public:
  explicit VarintReader(std::string_view in) : in_(in) {}
  uint64_t next() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && at_ < in_.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(in_[at_++]);
      value |= uint64_t{byte & 127u} << shift;
      if (byte < 128) {
        return value;
      }
    }
    OB_THROW(Corrupt, "packed numbers end early at byte {} of {}", at_, in_.size());
  }
  void expect_end() const {
    OB_REQUIRE(at_ == in_.size(), Corrupt, "{} bytes left behind packed numbers", in_.size() - at_);
  }

 private:
  std::string_view in_;
  size_t at_ = 0;
};

std::vector<std::byte> compress_text(const std::string& text) {
  return compress(std::as_bytes(std::span(text)));
}

}  // namespace

std::vector<std::byte> compress(std::span<const std::byte> bytes) {
  std::vector<std::byte> out(ZSTD_compressBound(bytes.size()));
  const size_t size = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), kLevel);
  OB_REQUIRE(ZSTD_isError(size) == 0, OutOfMemory, "zstd: {}", ZSTD_getErrorName(size));
  out.resize(size);
  return out;
}

std::string decompress(std::span<const std::byte> packed, uint64_t max_bytes) {
  const unsigned long long size = ZSTD_getFrameContentSize(packed.data(), packed.size());
  OB_REQUIRE(size != ZSTD_CONTENTSIZE_ERROR && size != ZSTD_CONTENTSIZE_UNKNOWN, Corrupt,
             "a packed blob of {} bytes is no zstd frame", packed.size());
  OB_REQUIRE(size <= max_bytes, Corrupt, "a packed blob says {} bytes, at most {} belong there",
             size, max_bytes);
  std::string out(size, '\0');
  const size_t got = ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size());
  OB_REQUIRE(ZSTD_isError(got) == 0 && got == size, Corrupt, "a packed blob of {} bytes: {}",
             packed.size(), ZSTD_isError(got) != 0 ? ZSTD_getErrorName(got) : "wrong size");
  return out;
}

std::vector<std::byte> pack_tokens(std::span<const int32_t> tokens) {
  std::string plain;
  for (const int32_t token : tokens) {
    put_varint(plain, zigzag(token));
  }
  return compress_text(plain);
}

std::vector<int32_t> unpack_tokens(std::span<const std::byte> packed, uint64_t count) {
  const std::string plain = decompress(packed, count * 10);
  VarintReader reader(plain);
  std::vector<int32_t> tokens;
  for (uint64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(unzigzag(reader.next())));
  }
  reader.expect_end();
  return tokens;
}

std::vector<std::byte> pack_spans(std::span<const ByteSpan> spans, uint64_t origin) {
  std::string plain;
  uint64_t last = origin;  // spans mostly follow each other, so differences are near zero
  for (const ByteSpan& span : spans) {
    put_varint(plain, zigzag(static_cast<int64_t>(span.begin - last)));
    put_varint(plain, zigzag(static_cast<int64_t>(span.end - span.begin)));
    last = span.end;
  }
  return compress_text(plain);
}

std::vector<ByteSpan> unpack_spans(std::span<const std::byte> packed, uint64_t count,
                                   uint64_t origin) {
  const std::string plain = decompress(packed, count * 20);
  VarintReader reader(plain);
  std::vector<ByteSpan> spans;
  uint64_t last = origin;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t begin = last + static_cast<uint64_t>(unzigzag(reader.next()));
    last = begin + static_cast<uint64_t>(unzigzag(reader.next()));
    spans.push_back({begin, last});
  }
  reader.expect_end();
  return spans;
}

}  // namespace offbook::store
