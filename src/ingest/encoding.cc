#include "src/ingest/encoding.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <iconv.h>

#include "src/base/error.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

// Windows-1252 at 0x80…0x9F; 0 where it has no character (those five become U+FFFD).
constexpr std::array<uint16_t, 32> kWindows1252 = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

// Encodings read through iconv when a file declares them. A closed list: some of iconv's modules
// (the ISO-2022 family) have had memory bugs that a declared name would reach.
constexpr std::array kDeclarable = {
    "iso-8859-2",   "iso-8859-3",   "iso-8859-4",   "iso-8859-5",   "iso-8859-6",   "iso-8859-7",
    "iso-8859-8",   "iso-8859-9",   "iso-8859-10",  "iso-8859-13",  "iso-8859-14",  "iso-8859-15",
    "iso-8859-16",  "windows-1250", "windows-1251", "windows-1253", "windows-1254", "windows-1255",
    "windows-1256", "windows-1257", "windows-1258", "koi8-r",       "koi8-u",       "shift_jis",
    "euc-jp",       "euc-kr",       "gbk",          "gb2312",       "gb18030",      "big5",
    "macintosh",    "ibm866"};

using Bytes = std::span<const std::byte>;

std::string_view as_view(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Utf16 {
  bool big_endian = false;
  size_t skip = 0;  // bytes of the mark
};

// UTF-16 without a mark: text that is mostly ASCII has a NUL in every second byte.
bool alternates_with_nul(std::string_view head, bool big_endian) {
  if (head.size() < 4) {
    return false;
  }
  size_t nul_high = 0, nul_low = 0;
  for (size_t i = 0; i + 1 < head.size(); i += 2) {
    nul_high += head[big_endian ? i : i + 1] == '\0';
    nul_low += head[big_endian ? i + 1 : i] == '\0';
  }
  const size_t units = head.size() / 2;
  return nul_high * 10 >= units * 9 && nul_low * 20 <= units;
}

std::optional<Utf16> utf16_of(std::string_view bytes) {
  if (bytes.starts_with("\xFF\xFE")) {
    return Utf16{false, 2};
  }
  if (bytes.starts_with("\xFE\xFF")) {
    return Utf16{true, 2};
  }
  const std::string_view head = bytes.substr(0, 4096);
  for (const bool big_endian : {false, true}) {
    if (alternates_with_nul(head, big_endian)) {
      return Utf16{big_endian, 0};
    }
  }
  return std::nullopt;
}

class Utf16Decoder {
 public:
  Utf16Decoder(std::string_view bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}

  DecodedText decode() {
    DecodedText out;
    out.encoding = big_endian_ ? "UTF-16BE" : "UTF-16LE";
    out.text.reserve(bytes_.size() / 2);
    for (size_t at = 0; at + 1 < bytes_.size();) {
      at += step(out.text, at);
    }
    if (bytes_.size() % 2 != 0) {
      append_utf8(out.text, 0xFFFD);
      out.warnings.emplace_back("the last byte is half of a UTF-16 unit; read as U+FFFD");
    }
    if (lone_ > 0) {
      out.warnings.push_back(fmt::format("{} unpaired UTF-16 surrogates read as U+FFFD", lone_));
    }
    return out;
  }

 private:
  uint32_t unit(size_t at) const {
    const auto a = static_cast<unsigned char>(bytes_[at]);
    const auto b = static_cast<unsigned char>(bytes_[at + 1]);
    return big_endian_ ? uint32_t{a} << 8 | b : uint32_t{b} << 8 | a;
  }

  size_t step(std::string& out, size_t at) {
    const uint32_t first = unit(at);
    if (first < 0xD800 || first > 0xDFFF) {
      append_utf8(out, first);
      return 2;
    }
    if (first < 0xDC00 && at + 3 < bytes_.size()) {
      const uint32_t second = unit(at + 2);
      if (second >= 0xDC00 && second <= 0xDFFF) {
        append_utf8(out, 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
        return 4;
      }
    }
    ++lone_;
    append_utf8(out, 0xFFFD);
    return 2;
  }

  std::string_view bytes_;
  bool big_endian_;
  size_t lone_ = 0;
};

void append_windows_1252(std::string& out, unsigned char byte) {
  if (byte < 0x80 || byte > 0x9F) {
    append_utf8(out, byte);
  } else {
    const uint16_t code_point = kWindows1252[byte - 0x80];
    append_utf8(out, code_point != 0 ? code_point : 0xFFFD);
  }
}

// How a text that is not valid UTF-8 divides.
struct Utf8Census {
  size_t multibyte = 0;  // well-formed characters above ASCII
  size_t stray = 0;      // bytes that belong to none
  size_t first_stray = 0;
  bool uses_c1 = false;  // a stray byte in 0x80…0x9F
};

Utf8Census count_utf8(std::string_view bytes) {
  Utf8Census census;
  for (size_t at = 0; at < bytes.size();) {
    const Character c = character_at(bytes, at);
    if (c.code_point >= 0x80) {
      ++census.multibyte;
    } else if (c.code_point < 0) {
      census.first_stray = census.stray == 0 ? at : census.first_stray;
      ++census.stray;
      census.uses_c1 |= static_cast<unsigned char>(bytes[at]) < 0xA0;
    }
    at += c.length;
  }
  return census;
}

DecodedText decode_mixed(std::string_view bytes, const Utf8Census& census) {
  DecodedText out;
  out.encoding = "UTF-8";
  out.text.reserve(bytes.size() + census.stray);
  for (size_t at = 0; at < bytes.size();) {
    const Character c = character_at(bytes, at);
    if (c.code_point < 0) {
      append_windows_1252(out.text, static_cast<unsigned char>(bytes[at]));
    } else {
      out.text.append(bytes, at, c.length);
    }
    at += c.length;
  }
  out.warnings.push_back(
      fmt::format("mixed encodings: UTF-8 with {} other bytes (the first at offset {}), which were "
                  "read as Windows-1252",
                  census.stray, census.first_stray));
  return out;
}

DecodedText decode_single_byte(std::string_view bytes, const Utf8Census& census) {
  DecodedText out;
  out.encoding = "Windows-1252";
  out.text.reserve(bytes.size() + bytes.size() / 8);
  bool uses_c1 = false;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    uses_c1 |= byte >= 0x80 && byte <= 0x9F;
    append_windows_1252(out.text, byte);
  }
  if (!uses_c1) {
    out.encoding = "ISO-8859-1";
  }
  out.warnings.push_back(
      fmt::format("not UTF-8 (first at offset {}); read as {}", census.first_stray, out.encoding));
  return out;
}

// Closes what iconv_open gave.
class Converter {
 public:
  explicit Converter(const std::string& from) : handle_(iconv_open("UTF-8", from.c_str())) {}
  ~Converter() {
    if (ok()) {
      iconv_close(handle_);
    }
  }
  Converter(const Converter&) = delete;
  Converter& operator=(const Converter&) = delete;
  bool ok() const { return handle_ != reinterpret_cast<iconv_t>(-1); }
  iconv_t get() const { return handle_; }

 private:
  iconv_t handle_;
};

// nullopt where this system's iconv does not have the encoding.
std::optional<DecodedText> decode_declared(std::string_view bytes, const std::string& encoding) {
  const Converter converter(encoding);
  if (!converter.ok()) {
    return std::nullopt;
  }
  DecodedText out;
  out.encoding = encoding;
  size_t replaced = 0;
  std::array<char, 8192> buffer;
  auto* in = const_cast<char*>(bytes.data());  // iconv's signature; it does not write there
  for (size_t in_left = bytes.size(); in_left > 0;) {
    char* to = buffer.data();
    size_t to_left = buffer.size();
    const size_t result = iconv(converter.get(), &in, &in_left, &to, &to_left);
    out.text.append(buffer.data(), buffer.size() - to_left);
    if (result == static_cast<size_t>(-1) && errno != E2BIG && in_left > 0) {
      append_utf8(out.text, 0xFFFD);
      ++in;
      --in_left;
      ++replaced;
    }
  }
  if (replaced > 0) {
    out.warnings.push_back(
        fmt::format("{} bytes are not {} as declared; read as U+FFFD", replaced, encoding));
  }
  return out;
}

// "\r\n" and lone "\r" → "\n", in place.
void normalise_line_ends(std::string& text) {
  if (text.find('\r') == std::string::npos) {
    return;
  }
  size_t out = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      text[out++] = '\n';
      i += i + 1 < text.size() && text[i + 1] == '\n' ? 1 : 0;
    } else {
      text[out++] = text[i];
    }
  }
  text.resize(out);
}

bool is_odd_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 && !is_ascii_space(c) && byte != 0x1B && byte != 0x08 && byte != 0x1A;
}

void refuse_binary(std::string_view text) {
  const size_t nul = text.find('\0');
  OB_REQUIRE(nul == std::string_view::npos, Unsupported,
             "not text: a NUL byte at offset {}; this looks like a binary file", nul);
  const auto odd = static_cast<size_t>(std::count_if(text.begin(), text.end(), is_odd_control));
  OB_REQUIRE(odd * 50 <= text.size(), Unsupported,
             "not text: {} control characters in {} bytes; this looks like a binary file", odd,
             text.size());
}

std::string canonical_name(std::string_view declared) {
  std::string name = to_lower_ascii(trim(declared));
  if (name == "utf8") {
    return "utf-8";
  }
  return name;
}

DecodedText decode_bytes(std::string_view view, std::string_view declared) {
  if (const auto utf16 = utf16_of(view)) {
    DecodedText out = Utf16Decoder(view.substr(utf16->skip), utf16->big_endian).decode();
    if (utf16->skip == 0) {
      out.warnings.push_back(fmt::format("no byte order mark; read as {}", out.encoding));
    }
    return out;
  }
  if (view.starts_with("\xEF\xBB\xBF")) {
    view.remove_prefix(3);
  }
  if (valid_utf8_prefix(view) == view.size()) {
    return {std::string(view), "UTF-8", {}};
  }
  const std::string name = canonical_name(declared);
  if (std::find(kDeclarable.begin(), kDeclarable.end(), name) != kDeclarable.end()) {
    if (auto decoded = decode_declared(view, name)) {
      return *std::move(decoded);
    }
  }
  const Utf8Census census = count_utf8(view);
  return census.multibyte > census.stray ? decode_mixed(view, census)
                                         : decode_single_byte(view, census);
}

}  // namespace

DecodedText decode_text(std::span<const std::byte> bytes, std::string_view declared) {
  DecodedText out = decode_bytes(as_view(bytes), declared);
  refuse_binary(out.text);
  normalise_line_ends(out.text);
  return out;
}

std::string declared_encoding(std::span<const std::byte> bytes) {
  const std::string head =
      to_lower_ascii(as_view(bytes.first(std::min<size_t>(bytes.size(), 1024))));
  for (const std::string_view key : {"charset", "encoding"}) {
    size_t at = head.find(key);
    if (at == std::string::npos) {
      continue;
    }
    at = head.find_first_not_of(" \t\n\r=\"'", at + key.size());
    if (at == std::string::npos) {
      continue;
    }
    const size_t end = head.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_:.", at);
    return head.substr(at, end == std::string::npos ? end : end - at);
  }
  return {};
}

bool looks_like_text(std::span<const std::byte> bytes) noexcept {
  const std::string_view head = as_view(bytes.first(std::min<size_t>(bytes.size(), 4096)));
  if (utf16_of(head)) {
    return true;
  }
  const auto odd = static_cast<size_t>(std::count_if(head.begin(), head.end(), is_odd_control));
  return head.find('\0') == std::string_view::npos && odd * 50 <= head.size();
}

}  // namespace offbook::ingest
