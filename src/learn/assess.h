// The stage `assess`: is the adapter better than what answers now, and which documents may be
// answered from their compressed form. Greedy token F1 on questions that were held back.
#pragma once
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "src/answer/answerer.h"
#include "src/learn/training_set.h"
#include "src/metrics/bootstrap.h"
#include "src/model/language_model.h"
#include "src/store/corpus.h"

namespace offbook::learn {

inline constexpr const char* kStageAssess = "assess";

// Answers questions greedily. `id` names what answers (a model with or without an adapter) in the
// corpus, so that answers scored before are not made again.
struct Contestant {
  std::string id;
  const model::LoraAdapter* adapter = nullptr;
};

struct AssessOptions {
  size_t max_questions = 60;  // spread over the documents
  // Answers are made as `ask` makes them.
  model::SamplingOptions sampling = answer::AskOptions{}.sampling;
  std::vector<std::string> stop_strings = answer::AskOptions{}.stop_strings;
  int max_answer_tokens = 48;
  double margin = 0.015;  // of F1: "not worse" is a lower end above minus this
  // What answers where no adapter does: null, or what alone reads the slots in the prompts.
  const model::LoraAdapter* reader = nullptr;
  bool is_against_base = false;  // not against the adapter that answers now
  std::string group;             // of documents, that the adapter is for; "": the generation's own
  // Changes how it runs.
  std::stop_token stop;
  std::function<void(int64_t done, int64_t total)> on_progress;  // answers
};

// Paired, over documents; over questions where all belong to one document.
struct Comparison {
  double before = 0, after = 0;  // mean F1
  metrics::Interval difference;  // 95%; of a single question: no interval, low = −1, high = 1
  bool is_not_worse = false;
  std::string verdict() const;  // one sentence with the numbers
};
Comparison compare(const std::vector<std::string>& document_ids, const std::vector<double>& before,
                   const std::vector<double>& after, double margin);

// F1 of greedy answers to `questions`; each answer is a unit of work (stage "assess"), so a stopped
// run goes on. A question that `ask` would not put to the model scores 0. Errors: Cancelled.
std::vector<double> score_answers(store::Corpus& corpus, const std::vector<Example>& questions,
                                  const Contestant& contestant, const PromptMaker& prompt_of,
                                  const model::LanguageModel& model, model::Decoder& decoder,
                                  const AssessOptions& options);

struct AdapterVerdict {
  bool is_accepted = false;
  int64_t questions = 0, documents = 0;
  Comparison comparison;
  std::string note;  // what the generation remembers, and people read
};

// Compares a new adapter with what the generation answers with otherwise (the adapter it began
// with, if that may be used, else the base; for a group its own of before, else the generation's),
// and gives the generation, or the group, the winner. Without a question held back nothing can be
// said: the new one is not taken.
AdapterVerdict assess_adapter(store::Corpus& corpus, int64_t generation, const std::string& adapter,
                              const std::vector<Example>& held_out, const PromptMaker& prompt_of,
                              const model::LanguageModel& model, model::Decoder& decoder,
                              const AssessOptions& options);

// DESIGN's fidelity of one document: mean F1 of answers from the compressed form over mean F1 from
// raw text, on the same questions. `lower` is a lower 90% bound (bootstrap over questions);
// slots are used from `floor` on, and never with fewer than 20 questions. Where raw text answers
// nothing right there is nothing to keep: score 0.
inline constexpr int kFewestFidelityQuestions = 20;
store::Fidelity fidelity_of(int64_t document, const std::string& method,
                            const std::vector<double>& compressed, const std::vector<double>& raw,
                            double floor);

}  // namespace offbook::learn
