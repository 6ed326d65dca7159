// The engine asks itself: questions with answers for the passages of a generation, checked and
// kept.
#pragma once
#include <functional>
#include <map>
#include <stop_token>
#include <string>

#include "src/ingest/question_checks.h"
#include "src/model/language_model.h"
#include "src/store/corpus.h"

namespace offbook::learn {

using ingest::QuestionLimits;

inline constexpr const char* kStageStudy = "study";

struct SelfStudyOptions {
  // Changes the result.
  uint64_t seed = 0;
  int max_passages = 96;         // studied, spread over the documents
  int64_t max_tokens = 150'000;  // through the model, as estimated by tokens_of_study()
  int rule_questions = 2;        // tried a passage
  int model_questions = 2;       // tried a passage
  QuestionLimits limits;
  // A question is kept when a token of its answer is at least this likely with the passage, and
  // this much likelier with it than without (natural logarithms, means over the answer).
  double min_with_passage = -3.0;
  double min_gain = 0.5;
  // Changes how it runs.
  std::stop_token stop;
  std::function<void(int64_t done, int64_t total)> on_progress;  // passages
};

struct SelfStudyResult {
  int64_t passages = 0, passages_studied = 0, passages_covered = 0;  // covered: a question was kept
  int64_t documents = 0, documents_covered = 0;
  int64_t tried = 0, kept = 0;
  std::map<std::string, int64_t> rejected;  // by reason
};

// Tokens that go through the model for one passage of `passage_tokens`.
int64_t tokens_of_study(int64_t passage_tokens, const SelfStudyOptions& options);

// Passages in an order that depends on the seed and the text alone, document by document in turn,
// until a limit of the options is reached.
std::vector<Passage> choose_passages(store::Corpus& corpus, int64_t generation,
                                     const SelfStudyOptions& options);

// Studies the passages that have not been studied with these options and this model yet, each a
// unit of work (stage "study"): a stopped or killed run goes on behind the last one. Examples, kept
// and rejected with the reason, are stored. The result counts all of the generation, from the
// table. Deterministic on one kind of CPU. The corpus must be open for writing. Errors: Cancelled.
// Cost: tokens_of_study() tokens of prefill a passage and up to 40 decoded ones a model question.
SelfStudyResult self_study(store::Corpus& corpus, int64_t generation,
                           const model::LanguageModel& model, model::Decoder& decoder,
                           const SelfStudyOptions& options);

// Examples to learn from: of documents that the generation has, in the version it has; given ones
// only where there are any, unless `with_self_study`.
std::vector<Example> usable_examples(store::Corpus& corpus, int64_t generation,
                                     bool with_self_study);

}  // namespace offbook::learn
