#include "src/compress/json_lines.h"

#include <memory>
#include <span>
#include <string>

#include <zstd.h>

#include "src/base/error.h"

namespace offbook::compress {
namespace {

constexpr size_t kMaxLineBytes = size_t{64} << 20;
constexpr int kMaxWindowLog = 27;  // the decoder's usual limit: 128 MiB

using OnBytes = std::function<bool(std::string_view)>;  // false: enough

void decompress(std::span<const std::byte> bytes, const std::string& file,
                const OnBytes& on_bytes) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> stream(ZSTD_createDCtx(),
                                                                    &ZSTD_freeDCtx);
  OB_REQUIRE(stream != nullptr, OutOfMemory, "{}: no memory for a zstd decoder", file);
  ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  std::vector<char> out(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  size_t left = 0;
  bool is_full = false;
  while (in.pos < in.size || is_full) {
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    left = ZSTD_decompressStream(stream.get(), &to, &in);
    OB_REQUIRE(ZSTD_isError(left) == 0, Corrupt, "{}: near byte {}: {}", file, in.pos,
               ZSTD_getErrorName(left));
    is_full = to.pos == to.size;
    if (!on_bytes({out.data(), to.pos})) {
      return;
    }
  }
  OB_REQUIRE(left == 0, Corrupt, "{}: the zstd frame is cut off", file);
}

// Calls on_line(line, number from 1) until it says false.
class LineSplitter {
 public:
  LineSplitter(std::string file, std::function<bool(std::string_view, int64_t)> on_line)
      : file_(std::move(file)), on_line_(std::move(on_line)) {}
  bool push(std::string_view bytes) {
    while (true) {
      const size_t end = bytes.find('\n');
      const std::string_view part = bytes.substr(0, end);
      OB_REQUIRE(pending_.size() + part.size() <= kMaxLineBytes, Corrupt,
                 "{}: line {} is longer than {} bytes", file_, number_ + 1, kMaxLineBytes);
      pending_ += part;
      if (end == std::string_view::npos) {
        return true;
      }
      bytes.remove_prefix(end + 1);
      if (!flush()) {
        return false;
      }
    }
  }
  bool flush() {
    const std::string line = std::move(pending_);
    pending_.clear();
    ++number_;
    return line.empty() || on_line_(line, number_);
  }

 private:
  std::string file_;
  std::function<bool(std::string_view, int64_t)> on_line_;
  std::string pending_;
  int64_t number_ = 0;
};

}  // namespace

void read_json_lines(FileSystem& fs, const std::filesystem::path& path,
                     const std::function<bool(const JsonFields&, int64_t)>& on_record) {
  const std::string file = path.string();
  const auto source = fs.open(path);
  bool is_wanted = true;
  LineSplitter lines(file, [&](std::string_view line, int64_t number) {
    const std::string where = fmt::format("{} line {}", file, number);
    const auto value =
        parse_json(std::as_bytes(std::span(line.data(), line.size())), where, kMaxLineBytes);
    is_wanted = on_record(JsonFields(value, where), number);
    return is_wanted;
  });
  const auto push = [&](std::string_view bytes) { return lines.push(bytes); };
  if (file.ends_with(".jsonl.zst")) {
    decompress(source->bytes(), file, push);
  } else {
    OB_REQUIRE(file.ends_with(".jsonl"), Unsupported,
               "{}: training text is .txt, .jsonl or .jsonl.zst", file);
    const auto bytes = source->bytes();
    push({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  if (is_wanted) {
    lines.flush();
  }
}

}  // namespace offbook::compress
