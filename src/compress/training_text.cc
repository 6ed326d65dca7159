#include "src/compress/training_text.h"

#include <algorithm>

#include "src/base/error.h"
#include "src/compress/json_lines.h"

namespace offbook::compress {
namespace {

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
  if (path.extension() == ".txt") {
    const auto source = fs.open(path);
    to.add(path.stem().string(), tokens_of(tokenizer, as_text(source->bytes())));
    return;
  }
  if (options.max_tokens <= to.tokens()) {
    return;
  }
  read_json_lines(fs, path, [&](const JsonFields& fields, int64_t number) {
    if (is_chosen(number, options)) {
      std::string group =
          fields.find_string("group").value_or(fields.find_string("domain").value_or(""));
      to.add(std::move(group), tokens_of(tokenizer, fields.get_string("text")));
    }
    return to.tokens() < options.max_tokens;
  });
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
