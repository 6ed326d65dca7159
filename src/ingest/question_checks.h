// What a question must be like before a model is asked about it.
#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "src/ingest/candidate.h"

namespace offbook::ingest {

struct QuestionLimits {
  int min_question_words = 3, max_question_words = 60;
  int max_answer_words = 14;
};

// Why a candidate of this passage is no good; empty when it is. The answer must stand in the
// passage (SQuAD normalisation, whole words) and not in the question; the question must be one, of
// a fitting length, and say by itself what it is about: none that begins with "What did he" or
// speaks of "the passage". Deterministic.
std::string fault_of(const Candidate& candidate, std::string_view passage,
                     const QuestionLimits& limits = {});

// The questions of one document so far. Two are the same when their normalised texts are equal, or
// when they share at least 80% of their words (Jaccard) and the normalised answer.
class SeenQuestions {
 public:
  // False when it is there already; else it is remembered.
  bool add(const std::string& question, const std::string& answer);

 private:
  std::unordered_set<std::string> texts_;
  std::unordered_map<std::string, std::vector<std::vector<std::string>>> words_by_answer_;
};

}  // namespace offbook::ingest
