#include "src/compress/selective_context/units.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "src/base/error.h"
#include "src/metrics/python_text.h"
#include "src/text/unicode.h"

namespace offbook::compress {
namespace {

// The characters that end before byte `end`, last first; none before the beginning.
class BackwardReader {
 public:
  BackwardReader(std::string_view text, size_t end) : text_(text), at_(end) {}

  // 0 at the beginning.
  char32_t next() {
    if (at_ == 0) {
      return 0;
    }
    do {
      --at_;
    } while (at_ > 0 && (static_cast<unsigned char>(text_[at_]) & 0xc0) == 0x80);
    return text::decode_utf8(text_, at_).code;
  }

 private:
  std::string_view text_;
  size_t at_;
};

bool is_abbreviation(std::string_view text, size_t end) {
  BackwardReader back(text, end);
  const char32_t last = back.next();  // of x.y. any character but a line end
  const char32_t second = back.next();
  const char32_t third = back.next();
  const char32_t fourth = back.next();
  const bool is_dotted = last != 0 && last != '\n' && second != 0 &&
                         metrics::is_python_word(second) && third == '.' && fourth != 0 &&
                         metrics::is_python_word(fourth);
  const bool is_title =
      last == '.' && second >= 'a' && second <= 'z' && third >= 'A' && third <= 'Z';
  return is_dotted || is_title;
}

ByteSpan without_spaces(std::string_view text, ByteSpan span) {
  while (span.begin < span.end && text[span.begin] == ' ') {
    ++span.begin;
  }
  while (span.begin < span.end && text[span.end - 1] == ' ') {
    --span.end;
  }
  return span;
}

double value_of(const std::vector<double>& values, UnitValue value) {
  if (values.empty()) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return value == UnitValue::sum ? sum : sum / static_cast<double>(values.size());
}

// Ends of the phrases of a sentence, the last at the sentence's end.
std::vector<uint64_t> phrase_ends(const ScoredSentence& sentence,
                                  std::span<const ByteSpan> phrases) {
  std::vector<uint64_t> ends;
  for (const ByteSpan& phrase : phrases) {
    const uint64_t end = std::min(phrase.end, sentence.span.end);
    if (end > sentence.span.begin && (ends.empty() || end > ends.back())) {
      ends.push_back(end);
    }
  }
  if (ends.empty() || ends.back() < sentence.span.end) {
    ends.push_back(sentence.span.end);
  }
  return ends;
}

std::vector<std::vector<double>> align(std::string_view text, const ScoredSentence& sentence,
                                       std::span<const uint64_t> ends) {
  std::vector<std::vector<double>> values(ends.size());
  size_t unit = 0;
  for (const ScoredToken& token : sentence.tokens) {
    const size_t first = unit;
    while (unit < ends.size() && ends[unit] <= token.span.end) {
      ++unit;
    }
    for (size_t i = first; i < unit; ++i) {
      values[i].push_back(token.surprisal / static_cast<double>(unit - first));
    }
    const bool ends_inside = unit == first && unit < ends.size();
    const bool is_space = token.span.end - token.span.begin == 1 && text[token.span.begin] == ' ';
    if (ends_inside && !is_space) {
      values[unit].push_back(token.surprisal);
    }
  }
  return values;
}

}  // namespace

ByteSpan CollapsedText::source_span(ByteSpan span) const {
  OB_CHECK(span.begin <= span.end && span.end < source.size());
  // The end of the last byte, not the beginning of the next: dropped white space stays outside.
  return {source[span.begin],
          span.begin == span.end ? source[span.begin] : source[span.end - 1] + 1};
}

CollapsedText collapse_white_space(std::string_view text) {
  CollapsedText out;
  out.text.reserve(text.size());
  out.source.reserve(text.size() + 1);
  bool in_space = false;
  for (size_t at = 0; at < text.size();) {
    const text::Utf8Char c = text::decode_utf8(text, at);
    const bool is_space = c.is_valid && metrics::is_python_space(c.code);
    if (is_space && !in_space) {
      out.text.push_back(' ');
      out.source.push_back(at);
    } else if (!is_space) {
      for (uint32_t i = 0; i < c.length; ++i) {
        out.text.push_back(text[at + i]);
        out.source.push_back(at + i);
      }
    }
    in_space = is_space;
    at += c.length;
  }
  out.source.push_back(text.size());
  return out;
}

std::vector<ByteSpan> reference_sentences(std::string_view text) {
  std::vector<ByteSpan> sentences;
  uint64_t begin = 0;
  const auto add = [&](uint64_t end) {
    const ByteSpan span = without_spaces(text, {begin, end});
    if (span.begin < span.end) {
      sentences.push_back(span);
    }
    begin = end;
  };
  for (size_t i = 1; i < text.size(); ++i) {
    const bool may_end = text[i] == ' ' && (text[i - 1] == '.' || text[i - 1] == '?');
    if (may_end && !is_abbreviation(text, i)) {
      add(i);
    }
  }
  add(text.size());
  return sentences;
}

std::vector<Unit> make_units(std::string_view collapsed, std::span<const ScoredSentence> sentences,
                             std::span<const ByteSpan> phrases, const UnitOptions& options) {
  std::vector<Unit> units;
  uint64_t begin = sentences.empty() ? 0 : sentences.front().span.begin;
  for (const ScoredSentence& sentence : sentences) {
    const auto add = [&](uint64_t end, const std::vector<double>& values) {
      units.push_back({{begin, end}, value_of(values, options.value)});
      begin = end;
    };
    if (options.level == UnitLevel::token) {
      for (const ScoredToken& token : sentence.tokens) {
        add(std::max(begin, token.span.end), {token.surprisal});
      }
      continue;
    }
    if (options.level == UnitLevel::sentence) {
      std::vector<double> all(sentence.tokens.size());
      std::transform(sentence.tokens.begin(), sentence.tokens.end(), all.begin(),
                     [](const ScoredToken& t) { return t.surprisal; });
      add(sentence.span.end, all);
      continue;
    }
    // The list is in order: what begins behind this sentence, and then what ends in it, is cut off.
    const auto begins = [&](const ByteSpan& p) { return p.begin < sentence.span.end; };
    const auto ends_here = [&](const ByteSpan& p) { return p.end <= sentence.span.end; };
    const auto past = std::partition_point(phrases.begin(), phrases.end(), begins);
    const std::vector<uint64_t> ends = phrase_ends(sentence, {phrases.begin(), past});
    const std::vector<std::vector<double>> values = align(collapsed, sentence, ends);
    for (size_t i = 0; i < ends.size(); ++i) {
      add(ends[i], values[i]);
    }
    phrases = {std::partition_point(phrases.begin(), phrases.end(), ends_here), phrases.end()};
  }
  return units;
}

}  // namespace offbook::compress
