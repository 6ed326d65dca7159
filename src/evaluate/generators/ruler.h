// The 13 tasks of RULER (arXiv 2404.06654) at any length.
#pragma once
#include <span>

#include "src/evaluate/generators/case.h"

namespace offbook::evaluate {

// Written into reports: never renumber.
enum class RulerTask : uint8_t {
  niah_single_1,    // noise; key a word, value a number
  niah_single_2,    // essay
  niah_single_3,    // essay; value a uuid
  niah_multikey_1,  // essay; four keys, one asked
  niah_multikey_2,  // nothing but needles
  niah_multikey_3,  // nothing but needles; uuids
  niah_multivalue,  // essay; four values of one key, all asked
  niah_multiquery,  // essay; four keys, all asked
  vt,               // a chain of variables
  cwe,              // ten words that come more often
  fwe,              // three coded words that come most often (Zipf)
  qa_1,             // a question on one of many documents (SQuAD)
  qa_2,             // on several (HotpotQA)
};
inline constexpr int kRulerTasks = 13;
std::string_view to_string(RulerTask task) noexcept;
// InvalidArgument lists the names.
RulerTask ruler_task(std::string_view name);

// What a qa case is made of: indices into RulerSources::documents.
struct RulerQuestion {
  std::string question;
  std::vector<std::string> answers;
  std::vector<int32_t> documents;       // needed for the answer
  std::vector<int32_t> near_documents;  // used as distractors before all others
};

// Texts the caller brings; borrowed.
struct RulerSources {
  std::string_view essay;                    // the niah tasks with an essay; read again when short
  std::span<const std::string> documents;    // qa tasks
  std::span<const RulerQuestion> questions;  // qa tasks; case i asks number i mod their count
};

struct RulerSpec {
  RulerTask task = RulerTask::niah_single_1;
  int64_t tokens = 4096;  // of example, context, question and answer together: never exceeded
  int64_t index = 0;
  uint64_t seed = 0;
};

// Tokens kept free for the answer: 128 for niah, 30 vt, 120 cwe, 50 fwe, 32 qa.
int64_t ruler_answer_tokens(RulerTask task);

// The definitions, wordings and frequencies of the published tasks; words from our own lists
// instead of a word package, our own sentence splitter, and each case filled to its length by
// itself. Scored by containment: the share of `answers` found (wants_all), for qa any.
// InvalidArgument for lengths in which not even the smallest case fits, or missing sources.
GeneratedCase make_ruler(const RulerSpec& spec, const RulerSources& sources,
                         const TokenCount& count);

}  // namespace offbook::evaluate
