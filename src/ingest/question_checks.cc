#include "src/ingest/question_checks.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "src/ingest/words.h"
#include "src/metrics/text_scores.h"

namespace offbook::ingest {
namespace {

constexpr double kSameShare = 0.8;
constexpr std::array<std::string_view, 9> kPointers = {
    "passage",      "text above", "this text",     "the text",    "the author",
    "this section", "paragraph",  "this document", "the document"};

// The first noun a question can be about is behind its first verb: a pronoun there points outside.
bool points_outside(const std::string& question) {
  const auto words = words_of(question, {0, question.size()});
  size_t named = 0;
  for (const Word& w : words) {
    if (!is_function_word(w.text) && w.text.size() > 3) {
      ++named;
    }
  }
  const bool has_early_pronoun =
      words.size() > 2 &&
      (is_pronoun(words[2].text) ||
       (words.size() > 3 && is_pronoun(words[3].text) && words[3].text != "there"));
  return named == 0 || (has_early_pronoun && words[2].text != "there" && named < 3);
}

double jaccard(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<std::string> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  const size_t all = a.size() + b.size() - both.size();
  return all == 0 ? 1 : static_cast<double>(both.size()) / static_cast<double>(all);
}

}  // namespace

std::string fault_of(const Candidate& candidate, std::string_view passage,
                     const QuestionLimits& limits) {
  const auto words = words_of(candidate.question, {0, candidate.question.size()});
  const auto answer = metrics::answer_tokens(candidate.answer);
  const std::array<std::string, 1> answers = {candidate.answer};
  const bool is_cloze = candidate.rule == "cloze";
  if (!is_cloze && !candidate.question.ends_with('?')) {
    return "is no question";
  }
  if (static_cast<int>(words.size()) < limits.min_question_words ||
      static_cast<int>(words.size()) > limits.max_question_words) {
    return "the question is too short or too long";
  }
  if (answer.empty() || static_cast<int>(answer.size()) > limits.max_answer_words) {
    return "the answer is empty or too long";
  }
  if (metrics::contains_normalized(passage, answers) == 0) {
    return "the answer is not in the passage";
  }
  if (metrics::contains_normalized(candidate.question, answers) > 0) {
    return "the question holds its answer";
  }
  for (const std::string_view pointer : kPointers) {
    if (!is_cloze && candidate.question.find(pointer) != std::string::npos) {
      return "the question speaks of the text, not of its matter";
    }
  }
  if (!is_cloze && points_outside(candidate.question)) {
    return "the question does not say what it is about";
  }
  return "";
}

bool SeenQuestions::add(const std::string& question, const std::string& answer) {
  if (!texts_.insert(metrics::normalize_answer(question)).second) {
    return false;
  }
  std::vector<std::string> words = metrics::answer_tokens(question);
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  auto& others = words_by_answer_[metrics::normalize_answer(answer)];
  const bool is_known = std::any_of(others.begin(), others.end(), [&](const auto& other) {
    return jaccard(words, other) >= kSameShare;
  });
  if (!is_known) {
    others.push_back(std::move(words));
  }
  return !is_known;
}

}  // namespace offbook::ingest
