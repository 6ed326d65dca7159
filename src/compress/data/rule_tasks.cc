#include "src/compress/data/rule_tasks.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <xxhash.h>

#include "src/ingest/question_checks.h"
#include "src/ingest/rule_questions.h"
#include "src/ingest/sentences.h"
#include "src/ingest/words.h"

namespace offbook::compress {
namespace {

constexpr size_t kMinSentence = 8;  // words of a sentence that is quoted
constexpr size_t kMaxSentence = 36;
constexpr size_t kKeywords = 3;
constexpr size_t kStemBytes = 5;  // "compressed" and "compression" count as one word

std::string single_line(std::string_view text) {
  std::string out(text);
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

// Three content words of five letters or more, the longest first in the choice, out of order.
std::optional<WordedExample> keywords_of(std::string_view text, ByteSpan sentence, Random& random) {
  std::vector<ingest::Word> words = ingest::words_of(text, sentence);
  if (words.size() < kMinSentence || words.size() > kMaxSentence) {
    return std::nullopt;
  }
  std::erase_if(words, [](const ingest::Word& w) {
    return w.text.size() < kStemBytes || ingest::is_function_word(w.text);
  });
  std::stable_sort(words.begin(), words.end(), [](const ingest::Word& a, const ingest::Word& b) {
    return a.text.size() > b.text.size();
  });
  std::vector<std::string> chosen;
  for (const ingest::Word& w : words) {
    if (std::find(chosen.begin(), chosen.end(), w.text) == chosen.end()) {
      chosen.emplace_back(w.text);
    }
  }
  if (chosen.size() < kKeywords) {
    return std::nullopt;
  }
  chosen.resize(std::min(chosen.size(), 2 * kKeywords));
  for (size_t i = 0; i < kKeywords; ++i) {
    std::swap(chosen[i], chosen[i + random.below(chosen.size() - i)]);
  }
  return WordedExample{
      .kind = ExampleKind::keywords,
      .evidence = sentence,
      .question =
          fmt::format("Which sentence speaks of {}, {} and {}?", chosen[0], chosen[1], chosen[2]),
      .answer = single_line(text.substr(sentence.begin, sentence.end - sentence.begin))};
}

// Up to `share` a thousand tokens of them, in order.
void keep_some(std::vector<WordedExample>& found, double share, int64_t tokens, Random& random,
               std::vector<WordedExample>& out) {
  const auto most = static_cast<size_t>(std::ceil(share * static_cast<double>(tokens) / 1000));
  for (size_t i = 0; i < std::min(most, found.size()); ++i) {
    std::swap(found[i], found[i + random.below(found.size() - i)]);
    out.push_back(std::move(found[i]));
  }
}

std::vector<uint64_t> stems_of(std::string_view text, ByteSpan within) {
  std::vector<uint64_t> out;
  for (const ingest::Word& w : ingest::words_of(text, within)) {
    if (ingest::is_function_word(w.text)) {
      continue;
    }
    std::string stem(w.text.substr(0, kStemBytes));
    std::transform(stem.begin(), stem.end(), stem.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    });
    out.push_back(XXH3_64bits(stem.data(), stem.size()));
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace

std::vector<WordedExample> rule_examples(std::string_view text, int64_t tokens,
                                         const RuleShare& shares, Random& random) {
  std::map<ExampleKind, std::vector<WordedExample>> found;
  for (const ByteSpan paragraph : ingest::split_paragraphs(text)) {
    const std::string_view passage = text.substr(paragraph.begin, paragraph.end - paragraph.begin);
    for (const ingest::Candidate& c : ingest::rule_questions(passage)) {
      const ExampleKind kind = c.rule == "cloze" ? ExampleKind::cloze : ExampleKind::asked;
      if ((kind == ExampleKind::cloze ? shares.cloze : shares.asked) > 0 &&
          ingest::fault_of(c, passage).empty()) {
        found[kind].push_back(
            {.kind = kind,
             .evidence = {paragraph.begin + c.sentence.begin, paragraph.begin + c.sentence.end},
             .question = c.question,
             .answer = single_line(c.answer)});
      }
    }
    if (shares.keywords > 0) {
      for (const ByteSpan s : ingest::split_sentences(passage)) {
        if (auto made =
                keywords_of(text, {paragraph.begin + s.begin, paragraph.begin + s.end}, random)) {
          found[ExampleKind::keywords].push_back(std::move(*made));
        }
      }
    }
  }
  std::vector<WordedExample> out;
  keep_some(found[ExampleKind::asked], shares.asked, tokens, random, out);
  keep_some(found[ExampleKind::cloze], shares.cloze, tokens, random, out);
  keep_some(found[ExampleKind::keywords], shares.keywords, tokens, random, out);
  return out;
}

EvidenceFinder::EvidenceFinder(std::string_view text) {
  for (const ByteSpan p : ingest::split_paragraphs(text)) {
    for (const ByteSpan s : ingest::split_sentences(text.substr(p.begin, p.end - p.begin))) {
      sentences_.push_back({p.begin + s.begin, p.begin + s.end});
      stems_.push_back(stems_of(text, sentences_.back()));
    }
  }
}

ByteSpan EvidenceFinder::find(std::string_view question, std::string_view answer) const {
  constexpr size_t kRun = 3;
  std::map<uint64_t, double> weight;  // of the words asked for
  for (const uint64_t stem : stems_of(question, {0, question.size()})) {
    weight[stem] += 1;
  }
  for (const uint64_t stem : stems_of(answer, {0, answer.size()})) {
    weight[stem] += 2;
  }
  for (auto& [stem, w] : weight) {
    const auto holding = std::count_if(stems_.begin(), stems_.end(), [&](const auto& s) {
      return std::binary_search(s.begin(), s.end(), stem);
    });
    w *= std::log(1 + static_cast<double>(stems_.size()) / (1 + static_cast<double>(holding)));
  }
  double best = 0;
  ByteSpan out;
  for (size_t first = 0; first < sentences_.size(); ++first) {
    const size_t last = std::min(first + kRun, sentences_.size()) - 1;
    double score = 0;
    for (const auto& [stem, w] : weight) {
      for (size_t i = first; i <= last; ++i) {
        if (std::binary_search(stems_[i].begin(), stems_[i].end(), stem)) {
          score += w;
          break;
        }
      }
    }
    if (score > best) {
      best = score;
      out = {sentences_[first].begin, sentences_[last].end};
    }
  }
  return out;
}

}  // namespace offbook::compress
