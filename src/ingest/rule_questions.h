// Questions from sentence patterns, without a model: English.
#pragma once
#include <string_view>
#include <vector>

#include "src/ingest/candidate.h"

namespace offbook::ingest {

// A stretch of a passage that is worth asking for: a name, a number with what it counts, a date, a
// quotation. Never the first word of its sentence alone.
struct AnswerSpan {
  enum class Kind : uint8_t { name, number, date, quotation };
  ByteSpan span;      // of the passage
  ByteSpan sentence;  // that holds it
  Kind kind = Kind::name;
};
std::string_view to_string(AnswerSpan::Kind kind) noexcept;

// In order of place, not overlapping. Deterministic; linear.
std::vector<AnswerSpan> find_answer_spans(std::string_view passage);

// All questions the rules find, in order of place, for each sentence the patterns before the cloze:
//   who / what   "NAME was VERBed by …" and "NAME VERBed …" → "Who VERBed …?"
//   when         "X was VERBed in 1998" → "When was X VERBed?"
//   where        "X was born in PLACE" → "Where was X born?"
//   how many     "X has 12 members" → "How many members does X have?"
//   what is      "X is a Y" → "What is X?"
//   cloze        the sentence with an answer span left out
// Every answer stands in the passage word for word. Sentences of fewer than 5 or more than 45 words
// are passed over. Deterministic; linear.
std::vector<Candidate> rule_questions(std::string_view passage);

}  // namespace offbook::ingest
