#include <algorithm>

#include "src/ingest/sentences.h"
#include "src/ingest/rule_questions.h"
#include "src/ingest/words.h"

namespace offbook::ingest {
namespace {

constexpr size_t kMaxQuotationWords = 8;

// The words of one sentence, looked at from the left; each try gives how many words it takes.
class SpanFinder {
 public:
  SpanFinder(std::string_view passage, ByteSpan sentence)
      : sentence_(sentence), words_(words_of(passage, sentence)) {}

  void add_to(std::vector<AnswerSpan>& out) const {
    for (size_t i = 0; i < words_.size();) {
      AnswerSpan::Kind kind = AnswerSpan::Kind::date;
      size_t taken = date_at(i);
      if (taken == 0 && (taken = number_at(i)) > 0) {
        kind = AnswerSpan::Kind::number;
      }
      if (taken == 0 && (taken = name_at(i)) > 0) {
        kind = AnswerSpan::Kind::name;
      }
      if (taken > 0) {
        out.push_back({{words_[i].span.begin, words_[i + taken - 1].span.end}, sentence_, kind});
      }
      i += std::max<size_t>(taken, 1);
    }
  }

 private:
  bool joins(size_t i) const {  // with the word before it
    return i < words_.size() && !words_[i - 1].is_broken_after && !words_[i].is_broken_before;
  }
  bool is_day(size_t i) const {
    return i < words_.size() && is_number(words_[i].text) && words_[i].text.size() <= 2;
  }

  // "12 March 1998", "March 12, 1998", "March 1998", "Tuesday", "in 1998".
  size_t date_at(size_t i) const {
    const auto month = [&](size_t k) { return k < words_.size() && is_month(words_[k].text); };
    const auto year = [&](size_t k) { return k < words_.size() && is_year(words_[k].text); };
    if (is_day(i) && joins(i + 1) && month(i + 1)) {
      return joins(i + 2) && year(i + 2) ? 3 : 2;
    }
    if (month(i) && is_day(i + 1) && joins(i + 1)) {
      return year(i + 2) ? 3 : 2;
    }
    if (month(i) && year(i + 1) && joins(i + 1)) {
      return 2;
    }
    return i > 0 && (year(i) || is_weekday(words_[i].text)) ? 1 : 0;
  }

  size_t number_at(size_t i) const {
    if (i == 0 || !is_number(words_[i].text)) {
      return 0;
    }
    const bool has_scale =
        joins(i + 1) && (words_[i + 1].text == "per" || is_number(words_[i + 1].text));
    if (has_scale && words_[i + 1].text == "per") {
      return joins(i + 2) && words_[i + 2].text == "cent" ? 3 : 1;
    }
    return has_scale ? 2 : 1;
  }

  // Capitalised words in a row, with "of", "de" … between two of them.
  size_t name_at(size_t i) const {
    if (!is_name_word(i) || (i == 0 && is_function_word(words_[0].text))) {
      return 0;
    }
    size_t end = i + 1;
    while (joins(end)) {
      const bool is_link = words_[end].text == "of" || words_[end].text == "de" ||
                           words_[end].text == "van" || words_[end].text == "von";
      if (is_name_word(end)) {
        ++end;
      } else if (is_link && joins(end + 1) && is_name_word(end + 1)) {
        end += 2;
      } else {
        break;
      }
    }
    return i == 0 && end == 1 ? 0 : end - i;  // any word may stand first with a capital
  }
  bool is_name_word(size_t i) const {
    return i < words_.size() && begins_with_capital(words_[i].text) &&
           !is_pronoun(words_[i].text) && words_[i].text.size() > 1;
  }

  ByteSpan sentence_;
  std::vector<Word> words_;
};

void add_quotations(std::string_view passage, ByteSpan sentence, std::vector<AnswerSpan>& out) {
  constexpr std::string_view kOpen = "\xE2\x80\x9C", kClose = "\xE2\x80\x9D";
  for (size_t at = sentence.begin; at < sentence.end;) {
    const bool is_curly = passage.substr(at).starts_with(kOpen);
    const size_t width = is_curly ? kOpen.size() : 1;
    if (!is_curly && passage[at] != '"') {
      ++at;
      continue;
    }
    const size_t begin = at + width;
    const size_t end = is_curly ? passage.find(kClose, begin) : passage.find('"', begin);
    if (end == std::string_view::npos || end > sentence.end) {
      return;
    }
    const auto words = words_of(passage, {begin, end});
    if (words.size() >= 2 && words.size() <= kMaxQuotationWords) {
      out.push_back({{words.front().span.begin, words.back().span.end},
                     sentence,
                     AnswerSpan::Kind::quotation});
    }
    at = end + width;
  }
}

}  // namespace

std::string_view to_string(AnswerSpan::Kind kind) noexcept {
  switch (kind) {
    case AnswerSpan::Kind::number:
      return "number";
    case AnswerSpan::Kind::date:
      return "date";
    case AnswerSpan::Kind::quotation:
      return "quotation";
    case AnswerSpan::Kind::name:
      break;
  }
  return "name";
}

std::vector<AnswerSpan> find_answer_spans(std::string_view passage) {
  std::vector<AnswerSpan> found;
  for (const ByteSpan& paragraph : ingest::split_paragraphs(passage)) {
    const auto text = passage.substr(paragraph.begin, paragraph.end - paragraph.begin);
    for (const ByteSpan& s : ingest::split_sentences(text)) {
      const ByteSpan sentence{paragraph.begin + s.begin, paragraph.begin + s.end};
      add_quotations(passage, sentence, found);
      SpanFinder(passage, sentence).add_to(found);
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const AnswerSpan& a, const AnswerSpan& b) {
    return a.span.begin < b.span.begin;
  });
  std::vector<AnswerSpan> out;
  for (const AnswerSpan& s : found) {
    if (out.empty() || s.span.begin >= out.back().span.end) {
      out.push_back(s);
    }
  }
  return out;
}

}  // namespace offbook::ingest
