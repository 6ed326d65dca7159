#include "src/compress/training_text.h"

#include <algorithm>
#include <functional>
#include <memory>

#include <zstd.h>

#include "src/base/error.h"
#include "src/base/json_fields.h"

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

std::vector<int32_t> tokens_of(const text::Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, {.add_special = false}).ids;
}

bool is_chosen(int64_t line, const ReadTextOptions& options) {
  return Random(options.seed * 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(line)).uniform() <
         options.share;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

void TrainingText::add(std::string group, std::vector<int32_t> tokens) {
  if (!tokens.empty()) {
    ends_.push_back(this->tokens() + static_cast<int64_t>(tokens.size()));
    documents_.push_back({std::move(group), std::move(tokens)});
  }
}

std::vector<int32_t> TrainingText::draw(Random& random, int64_t length) const {
  OB_REQUIRE(length >= 1 && length <= tokens(), InvalidArgument,
             "a training window of {} tokens from text of {} tokens", length, tokens());
  const auto place = static_cast<int64_t>(random.below(static_cast<uint64_t>(tokens())));
  auto at =
      static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), place) - ends_.begin());
  std::vector<int32_t> out;
  const auto size = static_cast<int64_t>(documents_[at].tokens.size());
  if (size >= length) {
    const auto begin = static_cast<int64_t>(random.below(static_cast<uint64_t>(size - length + 1)));
    const auto first = documents_[at].tokens.begin() + begin;
    return {first, first + length};
  }
  while (static_cast<int64_t>(out.size()) < length) {
    const std::vector<int32_t>& document = documents_[at].tokens;
    const auto missing = static_cast<size_t>(length) - out.size();
    out.insert(out.end(), document.begin(),
               document.begin() + static_cast<int64_t>(std::min(missing, document.size())));
    at = (at + 1) % documents_.size();
  }
  return out;
}

std::vector<TrainingText::Window> TrainingText::held_out(size_t count, int64_t length) const {
  std::vector<Window> all;  // first windows of all documents, then second ones, …
  for (int64_t round = 0; all.size() < count; ++round) {
    std::vector<Window> found;
    for (size_t d = 0; d < documents_.size(); ++d) {
      const std::vector<int32_t>& tokens = documents_[d].tokens;
      if (static_cast<int64_t>(tokens.size()) >= (round + 1) * length) {
        const auto first = tokens.begin() + round * length;
        found.push_back({documents_[d].group, d, {first, first + length}});
      }
    }
    if (found.empty()) {
      break;
    }
    const size_t wanted = std::min(found.size(), count - all.size());
    for (size_t i = 0; i < wanted; ++i) {
      all.push_back(std::move(found[i * found.size() / wanted]));
    }
  }
  return all;
}

void read_training_text(FileSystem& fs, const std::filesystem::path& path,
                        const text::Tokenizer& tokenizer, const ReadTextOptions& options,
                        TrainingText& to) {
  const std::string file = path.string();
  const auto source = fs.open(path);
  if (file.ends_with(".txt")) {
    to.add(path.stem().string(), tokens_of(tokenizer, as_text(source->bytes())));
    return;
  }
  LineSplitter lines(file, [&](std::string_view line, int64_t number) {
    if (is_chosen(number, options)) {
      const std::string where = fmt::format("{} line {}", file, number);
      const auto value =
          parse_json(std::as_bytes(std::span(line.data(), line.size())), where, kMaxLineBytes);
      const JsonFields fields(value, where);
      std::string group =
          fields.find_string("group").value_or(fields.find_string("domain").value_or(""));
      to.add(std::move(group), tokens_of(tokenizer, fields.get_string("text")));
    }
    return to.tokens() < options.max_tokens;
  });
  const auto push = [&](std::string_view bytes) { return lines.push(bytes); };
  if (file.ends_with(".jsonl.zst")) {
    decompress(source->bytes(), file, push);
  } else {
    OB_REQUIRE(file.ends_with(".jsonl"), Unsupported,
               "{}: training text is .txt, .jsonl or .jsonl.zst", file);
    push(as_text(source->bytes()));
  }
  if (to.tokens() < options.max_tokens) {
    lines.flush();
  }
}

std::vector<size_t> other_documents(const std::vector<TrainingText::Window>& windows) {
  const size_t n = windows.size();
  std::vector<size_t> out(n, n);
  const auto partner = [&](size_t i, bool is_free_only, bool is_same_group) {
    for (size_t step = 1; step < n; ++step) {
      const size_t j = (i + step) % n;
      if (windows[j].document != windows[i].document && (!is_free_only || out[j] == n) &&
          (!is_same_group || windows[j].group == windows[i].group)) {
        return j;
      }
    }
    return n;
  };
  for (size_t i = 0; i < n; ++i) {
    if (out[i] != n) {
      continue;
    }
    if (const size_t j = partner(i, true, true); j != n) {
      out[i] = j;
      out[j] = i;
    } else {
      const size_t same_group = partner(i, false, true);
      out[i] = same_group != n ? same_group : partner(i, false, false);
      OB_REQUIRE(out[i] != n, InvalidArgument,
                 "the control needs held-out windows of two documents, there is one");
    }
  }
  return out;
}

}  // namespace offbook::compress
