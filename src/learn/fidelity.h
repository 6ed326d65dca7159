// May a document be answered from its compressed form? Measured on questions that were held back.
#pragma once
#include "src/learn/assess.h"

namespace offbook::learn {

struct FidelityOptions {
  // Of the lower bound: slots answer nearly as well as the text they stand for.
  double floor = 0.8;
  size_t max_questions = 24;  // of a document
  size_t max_answers = 480;   // of all documents, with slots and raw together
  // By id, those that are measured now; null: all of the generation.
  std::function<bool(const std::string& document_id)> includes;
};

struct FidelityResult {
  int64_t documents = 0;  // of the generation
  int64_t measured = 0;   // had questions enough
  int64_t too_few = 0;    // had fewer than kFewestFidelityQuestions
  int64_t left_out = 0;   // had enough, but max_answers was reached
  int64_t use_slots = 0;
  double lowest = 0, highest = 0;  // scores of the measured ones
};

// Answers from raw passages, and from the slots of the same passages.
struct FidelitySides {
  PromptMaker raw, slots;
  Contestant with_raw, with_slots;  // ids must differ
};

// Scores every document that has at least kFewestFidelityQuestions of `held_out`, those with most
// questions first, and stores the verdicts of `method` in the generation; documents with fewer get
// one that says so. Answers scored before are not made again (score_answers). The corpus must be
// open for writing. Errors: Cancelled. Cost: two answers a question.
FidelityResult assess_fidelity(store::Corpus& corpus, int64_t generation, const std::string& method,
                               const std::vector<Example>& held_out, const FidelitySides& sides,
                               const model::LanguageModel& model, model::Decoder& decoder,
                               const AssessOptions& options, const FidelityOptions& fidelity);

// Takes over from another generation what was measured for the same versions of documents.
void carry_fidelity(store::Corpus& corpus, int64_t from, int64_t to, const std::string& method);

// Why a document is answered from slots, or from raw passages: one clause with the numbers.
std::string reason_of(const store::Fidelity& fidelity, double floor);

}  // namespace offbook::learn
