#include "src/ingest/sentences.h"

#include <algorithm>
#include <array>

#include <utf8proc.h>

#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

// Before a full stop these do not end a sentence. Sorted, for binary search.
constexpr std::array<std::string_view, 44> kAbbreviations = {
    "al",   "approx", "apr", "aug", "ca",     "capt", "cf",  "col", "dec", "dept", "dr",
    "e.g",  "eg",     "est", "feb", "gen",    "gov",  "hon", "i.e", "ie",  "jan",  "jr",
    "jul",  "jun",    "lt",  "mar", "messrs", "mr",   "mrs", "ms",  "mt",  "nov",  "oct",
    "prof", "rep",    "rev", "sen", "sep",    "sept", "sgt", "sr",  "st",  "viz",  "vs"};
// These only before a number.
constexpr std::array<std::string_view, 14> kBeforeNumber = {
    "art", "ch", "eq", "fig", "figs", "no", "nos", "p", "para", "pp", "sec", "tab", "vol", "vols"};

bool is_one_of(std::span<const std::string_view> sorted, std::string_view word) {
  return std::binary_search(sorted.begin(), sorted.end(), word);
}

bool is_letter_or_dot(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.';
}

bool is_closer(int32_t c) {
  switch (c) {
    case '"':
    case '\'':
    case ')':
    case ']':
    case 0xBB:    // »
    case 0x2019:  // ’
    case 0x201D:  // ”
    case 0x300D:  // 」
    case 0x300F:  // 』
      return true;
    default:
      return false;
  }
}

bool is_opener(int32_t c) {
  switch (c) {
    case '"':
    case '\'':
    case '(':
    case '[':
    case 0xAB:    // «
    case 0x2018:  // ‘
    case 0x201C:  // “
      return true;
    default:
      return false;
  }
}

enum class Stop { none, before_space, always };

Stop stop_of(int32_t c) {
  switch (c) {
    case '.':
    case '!':
    case '?':
    case 0x2026:  // …
      return Stop::before_space;
    case 0x3002:  // 。
    case 0xFF01:  // ！
    case 0xFF1F:  // ？
    case 0xFF61:  // ｡
    case 0x0964:  // ।
    case 0x061F:  // ؟
    case 0x06D4:  // ۔
      return Stop::always;
    default:
      return Stop::none;
  }
}

// The word that ends at `end`, lower case, at most 8 letters and dots.
std::string word_before(std::string_view text, size_t end) {
  size_t begin = end;
  while (begin > 0 && end - begin < 8 && is_letter_or_dot(text[begin - 1])) {
    --begin;
  }
  return to_lower_ascii(text.substr(begin, end - begin));
}

bool is_digit(int32_t c) {
  return c >= '0' && c <= '9';
}

// What comes next behind white space and opening quotes; -1 at the end.
int32_t next_visible(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Character c = character_at(text, at);
    if (!is_blank(c.code_point) && !is_opener(c.code_point)) {
      return c.code_point;
    }
    at += c.length;
  }
  return -1;
}

bool is_abbreviation(std::string_view text, size_t stop, int32_t next) {
  const std::string word = word_before(text, stop);
  const bool is_initial =
      word.size() == 1 && text[stop - 1] >= 'A' && text[stop - 1] <= 'Z' && text[stop - 1] != 'I';
  return is_initial || is_one_of(kAbbreviations, word) ||
         (is_digit(next) && is_one_of(kBeforeNumber, word));
}

bool starts_with_marker(std::string_view line) {
  if (line.starts_with("- ") || line.starts_with("* ") || line.starts_with("• ")) {
    return true;
  }
  size_t digits = 0;
  while (digits < line.size() && digits < 4 && is_digit(line[digits])) {
    ++digits;
  }
  return digits > 0 && digits + 1 < line.size() && (line[digits] == '.' || line[digits] == ')') &&
         line[digits + 1] == ' ';
}

// Lines of nearly one width were broken by a typesetter, not by the writer.
bool looks_wrapped(std::string_view text) {
  constexpr size_t kNarrowest = 40, kWidest = 120;
  size_t widest = 0, narrowest = SIZE_MAX;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    widest = std::max(widest, end - at);
    narrowest = end < text.size() ? std::min(narrowest, end - at) : narrowest;
    at = end + 1;
  }
  return widest >= kNarrowest && widest <= kWidest && narrowest * 10 >= widest * 6;
}

class SentenceSplitter {
 public:
  explicit SentenceSplitter(std::string_view text) : text_(text), wrapped_(looks_wrapped(text)) {}

  std::vector<ByteSpan> split() {
    for (size_t at = 0; at < text_.size();) {
      at = step(at);
    }
    emit(text_.size());
    return std::move(out_);
  }

 private:
  size_t step(size_t at) {
    const Character c = character_at(text_, at);
    const size_t behind = at + c.length;
    if (c.code_point == '\n') {
      std::string_view next = text_.substr(behind, 64);
      next.remove_prefix(std::min(next.find_first_not_of(" \t"), next.size()));
      if (!wrapped_ || starts_with_marker(next)) {
        emit(at);
      }
      return behind;
    }
    const Stop stop = stop_of(c.code_point);
    if (stop == Stop::none) {
      return behind;
    }
    const size_t end = skip_closers(behind);
    if (stop == Stop::always || ends_sentence(at, c.code_point, end)) {
      emit(end);
    }
    return end;
  }

  // Behind further stops and closing marks: `?!"`.
  size_t skip_closers(size_t at) const {
    while (at < text_.size()) {
      const Character c = character_at(text_, at);
      if (!is_closer(c.code_point) && stop_of(c.code_point) == Stop::none) {
        break;
      }
      at += c.length;
    }
    return at;
  }

  bool ends_sentence(size_t stop_at, int32_t stop, size_t end) const {
    if (end < text_.size() && !is_ascii_space(text_[end])) {
      return false;
    }
    const int32_t next = next_visible(text_, end);
    if (next >= 0 && utf8proc_category(next) == UTF8PROC_CATEGORY_LL) {
      return false;
    }
    return stop != '.' || !is_abbreviation(text_, stop_at, next);
  }

  void emit(size_t end) {
    const std::string_view piece = trim(text_.substr(begin_, end - begin_));
    if (!piece.empty()) {
      const auto at = static_cast<uint64_t>(piece.data() - text_.data());
      out_.push_back({at, at + piece.size()});
    }
    begin_ = end;
  }

  std::string_view text_;
  bool wrapped_;
  size_t begin_ = 0;
  std::vector<ByteSpan> out_;
};

}  // namespace

std::vector<ByteSpan> split_sentences(std::string_view paragraph) {
  return SentenceSplitter(paragraph).split();
}

std::vector<ByteSpan> split_paragraphs(std::string_view text) {
  std::vector<ByteSpan> out;
  size_t begin = std::string_view::npos, end = 0;  // of the paragraph that is open
  for (size_t at = 0; at < text.size();) {
    const size_t line_end = std::min(text.find('\n', at), text.size());
    const std::string_view line = trim(text.substr(at, line_end - at));
    if (line.empty() && begin != std::string_view::npos) {
      out.push_back({begin, end});
      begin = std::string_view::npos;
    } else if (!line.empty()) {
      const auto from = static_cast<size_t>(line.data() - text.data());
      begin = begin == std::string_view::npos ? from : begin;
      end = from + line.size();
    }
    at = line_end + 1;
  }
  if (begin != std::string_view::npos) {
    out.push_back({begin, end});
  }
  return out;
}

}  // namespace offbook::ingest
