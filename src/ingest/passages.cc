#include "src/ingest/passages.h"

#include <algorithm>

#include "src/base/error.h"
#include "src/ingest/sentences.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

// What stands in front of a unit: the stronger, the better a place to cut.
enum class Break : uint8_t { inside_sentence = 0, sentence = 1, paragraph = 2 };

struct Counts {
  int base = 0;
  int encoder = 0;
};

// The smallest piece that is not cut further: a sentence, a line, or a part of an over-long one.
struct Unit {
  ByteSpan span;
  Break before = Break::paragraph;
  Counts tokens;
};

// Neighbouring sections that are cut as one: a lone heading and what follows it.
struct Run {
  ByteSpan span;
  const Section* section = nullptr;
};

std::string_view text_of(const Document& document, ByteSpan span) {
  return std::string_view(document.text).substr(span.begin, span.end - span.begin);
}

// Is the section nothing but its heading, and does the next stand under it?
bool is_heading_of(const Document& document, const Section& section, const Section& next) {
  const auto& path = section.headings;
  return !path.empty() && next.headings.size() > path.size() &&
         std::equal(path.begin(), path.end(), next.headings.begin()) &&
         trim(text_of(document, section.span)) == path.back();
}

std::vector<Run> runs_of(const Document& document) {
  std::vector<Run> runs;
  bool join = false;
  for (size_t i = 0; i < document.sections.size(); ++i) {
    const Section& section = document.sections[i];
    OB_CHECK(section.span.begin <= section.span.end && section.span.end <= document.text.size());
    if (join) {
      runs.back().span.end = section.span.end;
      runs.back().section = &section;
    } else {
      runs.push_back({section.span, &section});
    }
    join = i + 1 < document.sections.size() &&
           is_heading_of(document, section, document.sections[i + 1]);
  }
  return runs;
}

class Cutter {
 public:
  Cutter(const Document& document, const PassageOptions& options, const TokenCounter& counter)
      : document_(document),
        options_(options),
        counter_(counter),
        specials_(counter.encoder_tokens("")) {
    OB_REQUIRE(options.encoder_window >= 16 + specials_, InvalidArgument,
               "encoder window of {} tokens is below the least, {}", options.encoder_window,
               16 + specials_);
  }

  std::vector<Passage> cut() {
    for (const Run& run : runs_of(document_)) {
      section_ = run.section;
      make_units(run.span);
      pack();
    }
    return std::move(passages_);
  }

 private:
  Counts count(ByteSpan span) const {
    const std::string_view text = text_of(document_, span);
    return {counter_.base_tokens(text), counter_.encoder_tokens(text)};
  }
  bool fits(Counts tokens) const {
    return tokens.base <= options_.size_tokens && tokens.encoder <= options_.encoder_window;
  }

  void make_units(ByteSpan run) {
    units_.clear();
    for (const ByteSpan paragraph : split_paragraphs(text_of(document_, run))) {
      const ByteSpan in_text = {run.begin + paragraph.begin, run.begin + paragraph.end};
      Break before = Break::paragraph;
      for (const ByteSpan sentence : split_sentences(text_of(document_, in_text))) {
        add_unit({in_text.begin + sentence.begin, in_text.begin + sentence.end}, before);
        before = Break::sentence;
      }
    }
  }

  void add_unit(ByteSpan span, Break before) {
    if (is_blank_text(text_of(document_, span))) {
      return;
    }
    // Longer than any fitting text could be: not worth counting as a whole.
    const uint64_t hopeless = uint64_t{64} * static_cast<uint64_t>(options_.size_tokens);
    if (span.end - span.begin <= hopeless) {
      const Counts tokens = count(span);
      if (fits(tokens)) {
        units_.push_back({span, before, tokens});
        return;
      }
    }
    split_unit(span, before);
  }

  void split_unit(ByteSpan span, Break before) {
    while (span.begin < span.end) {
      const ByteSpan piece = {span.begin, span.begin + fitting_prefix(span)};
      if (!is_blank_text(text_of(document_, piece))) {
        units_.push_back({piece, before, count(piece)});
        before = Break::inside_sentence;
      }
      span.begin = piece.end;
      while (span.begin < span.end && is_ascii_space(document_.text[span.begin])) {
        ++span.begin;
      }
    }
  }

  // Moves a length back to the start of a character, but not to 0.
  size_t whole_characters(std::string_view text, size_t length) const {
    while (length < text.size() && length > 0 &&
           (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) {
      --length;
    }
    return length > 0 ? length : character_at(text, 0).length;
  }

  bool prefix_fits(ByteSpan span, size_t length) const {
    return fits(count({span.begin, span.begin + length}));
  }

  // Bytes of a prefix that fits, ending at white space if its second half has some.
  size_t fitting_prefix(ByteSpan span) const {
    constexpr size_t kBytesPerToken = 8;  // more than language has: above it shorter pieces do
    const std::string_view text = text_of(document_, span);
    size_t fitting = character_at(text, 0).length;
    OB_REQUIRE(prefix_fits(span, fitting), InvalidArgument,
               "one character at offset {} takes more tokens than a passage may have", span.begin);
    size_t too_long = std::min(text.size(), kBytesPerToken * options_.size_tokens);
    too_long = whole_characters(text, too_long);
    if (prefix_fits(span, too_long)) {
      fitting = too_long;
    }
    while (fitting < too_long) {
      const size_t middle = whole_characters(text, (fitting + too_long + 1) / 2);
      if (middle <= fitting || middle >= too_long) {
        break;
      }
      (prefix_fits(span, middle) ? fitting : too_long) = middle;
    }
    return at_white_space(span, text, fitting);
  }

  size_t at_white_space(ByteSpan span, std::string_view text, size_t length) const {
    if (length == text.size()) {
      return length;
    }
    for (size_t at = length; at > length / 2; --at) {
      if (is_ascii_space(text[at])) {
        const size_t end = static_cast<size_t>(trim(text.substr(0, at)).size());
        return end > 0 && prefix_fits(span, end) ? end : length;
      }
    }
    return length;
  }

  // Estimate for units [begin, end): what joins two units is counted as one token.
  Counts estimate(size_t begin, size_t end) const {
    Counts sum{0, specials_};
    for (size_t i = begin; i < end; ++i) {
      sum.base += units_[i].tokens.base + (i > begin ? 1 : 0);
      sum.encoder += units_[i].tokens.encoder - specials_;
    }
    return sum;
  }

  // How many units from `begin` on fit, by estimate; at least one.
  size_t reach(size_t begin, int base_limit, int encoder_limit) const {
    Counts sum = units_[begin].tokens;
    size_t end = begin + 1;
    while (end < units_.size()) {
      sum.base += units_[end].tokens.base + 1;
      sum.encoder += units_[end].tokens.encoder - specials_;
      if (sum.base > base_limit || sum.encoder > encoder_limit) {
        break;
      }
      ++end;
    }
    return end;
  }

  // Where the passage that starts at `begin` had best end; above `must_hold`.
  size_t choose_end(size_t begin, size_t must_hold) const {
    const size_t full = reach(begin, options_.size_tokens, options_.encoder_window);
    if (full == units_.size()) {
      return full;
    }
    // A rest that fits into two passages is halved, so that no crumb is left at the end.
    const size_t two = reach(begin, 2 * options_.size_tokens, 2 * options_.encoder_window);
    size_t last = full;
    if (two == units_.size()) {
      const Counts rest = estimate(begin, units_.size());
      last = std::min(full, reach(begin, rest.base * 6 / 10, rest.encoder * 6 / 10));
    }
    const size_t first =
        std::max(reach(begin, options_.size_tokens * 6 / 10, options_.encoder_window * 6 / 10),
                 must_hold + 1);
    last = std::max(last, must_hold + 1);
    if (last >= units_.size()) {
      return units_.size();
    }
    size_t best = last;
    for (size_t end = last; end >= std::min(first, last); --end) {
      if (units_[end].before > units_[best].before) {
        best = end;
      }
    }
    return best;
  }

  void pack() {
    for (size_t begin = 0, covered = 0; covered < units_.size();) {
      size_t end = choose_end(begin, covered);
      Counts tokens = count(span_of(begin, end));
      while (!fits(tokens)) {  // joined text can have more tokens than was estimated
        if (end > covered + 1) {
          --end;
        } else {
          ++begin;  // give up some overlap
        }
        OB_CHECK(begin < end);
        tokens = count(span_of(begin, end));
      }
      emit(span_of(begin, end), tokens);
      covered = end;
      begin = overlap_start(begin, end);
    }
  }

  ByteSpan span_of(size_t begin, size_t end) const {
    return {units_[begin].span.begin, units_[end - 1].span.end};
  }

  // First unit of the next passage: as many whole units as the overlap allows, so that the next new
  // unit still fits behind them.
  size_t overlap_start(size_t begin, size_t end) const {
    size_t start = end;
    while (end < units_.size() && start > begin + 1 &&
           estimate(start - 1, end).base <= options_.overlap_tokens &&
           fits(estimate(start - 1, end + 1))) {
      --start;
    }
    return start;
  }

  void emit(ByteSpan span, Counts tokens) {
    passages_.push_back({.document_id = document_.id,
                         .ordinal = static_cast<int>(passages_.size()),
                         .span = span,
                         .headings = section_->headings,
                         .page = section_->page,
                         .text = std::string(text_of(document_, span)),
                         .base_tokens = tokens.base,
                         .encoder_tokens = tokens.encoder});
  }

  const Document& document_;
  const PassageOptions& options_;
  const TokenCounter& counter_;
  int specials_;
  const Section* section_ = nullptr;
  std::vector<Unit> units_;
  std::vector<Passage> passages_;
};

}  // namespace

std::vector<Passage> cut_passages(const Document& document, const PassageOptions& options,
                                  const TokenCounter& counter) {
  OB_REQUIRE(options.size_tokens >= 16 && options.size_tokens <= 1536, InvalidArgument,
             "passage size {} is not in 16…1536 tokens", options.size_tokens);
  OB_REQUIRE(options.overlap_tokens >= 0 && options.overlap_tokens < options.size_tokens / 2,
             InvalidArgument, "passage overlap {} is not in 0…{} tokens (below half of the size)",
             options.overlap_tokens, (options.size_tokens - 1) / 2);
  return Cutter(document, options, counter).cut();
}

}  // namespace offbook::ingest
