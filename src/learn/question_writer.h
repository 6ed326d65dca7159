// The model writes questions for answers that stand in a passage, and says whether a passage is
// needed to answer.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "src/ingest/candidate.h"
#include "src/learn/staged_reader.h"

namespace offbook::learn {

using ingest::Candidate;

// Not thread-safe. Keeps a few hundred tokens of the decoder's cache; the reader must outlive it.
class QuestionWriter {
 public:
  explicit QuestionWriter(StagedReader& reader);

  struct Request {
    std::string passage;
    std::string answer;
    std::string rule;  // how the answer was found
  };
  // A question each, as the model wrote it (unchecked). Eight are written side by side.
  std::vector<Candidate> write(std::span<const Request> requests);

 private:
  StagedReader& reader_;
  model::Sequence examples_;  // what every prompt begins with
};

// Mean log-probability of a token of the answer.
struct AnswerSupport {
  double with_passage = 0, without = 0;
};

// Not thread-safe; the reader must outlive it.
class AnswerJudge {
 public:
  explicit AnswerJudge(StagedReader& reader);
  std::vector<AnswerSupport> judge(const std::string& passage,
                                   std::span<const Candidate> candidates);

 private:
  std::vector<text::ChatMessage> messages(const std::string& passage,
                                          const std::string& question) const;

  StagedReader& reader_;
};

}  // namespace offbook::learn
