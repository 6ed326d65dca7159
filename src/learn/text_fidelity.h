// What a compressed form keeps of a document, read off the document's own text: no person's
// questions are needed, so that every document has a score.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/compress/compressor.h"
#include "src/model/language_model.h"

namespace offbook::learn {

struct ProbeOptions {
  size_t segments = 2;            // of a document, spread over it
  size_t questions = 12;          // of a segment: made by rule (compress/data/rule_tasks.h)
  size_t recalls = 4;             // of a segment: sentences told from their first words
  int32_t recall_cue = 8;         // tokens of those
  int32_t recall_tokens = 32;     // told at most
  int32_t continued_tokens = 64;  // of the text behind the segment
  uint64_t seed = 1;
};

// Something the text decides: what the model reads, and the tokens wanted then. At least one each.
struct Probe {
  enum class Kind : uint8_t { question, recall, continuation };
  Kind kind = Kind::question;
  std::vector<int32_t> cue, target;
};

// Probes of one segment; `text`: its bytes. `next`: tokens that follow it in the document. The same
// segment and seed, the same probes. Cost: one pass of the rules over the text.
std::vector<Probe> make_probes(const Segment& segment, std::string_view text,
                               std::span<const int32_t> next, const model::LanguageModel& model,
                               const ProbeOptions& options);

// Sums over the probes of one kind.
struct ProbeSums {
  int64_t probes = 0, right = 0;  // right: every token of the target would have been chosen
  int64_t tokens = 0, right_tokens = 0;
  double loss = 0;  // of all tokens, in nats

  ProbeSums& operator+=(const ProbeSums& other);
  double mean_loss() const { return tokens > 0 ? loss / static_cast<double>(tokens) : 0; }
};

struct ProbeReading {
  ProbeSums questions, recalls, continuations;

  ProbeSums& of(Probe::Kind kind);
  ProbeReading& operator+=(const ProbeReading& other);
};

// Under which adapters probes are read; null: the base. Slots' own reader adapter goes before.
struct ProbeReaders {
  const model::LoraAdapter* with_raw = nullptr;
  const model::LoraAdapter* with_slots = nullptr;
};

// One document at several ratios.
struct TextFidelity {
  ProbeReading none, raw;                // behind nothing, behind the text itself
  std::map<double, ProbeReading> slots;  // by ratio

  // Share of what the text is worth to a question made from it that the slots keep: (none − slots)
  // / (none − raw), losses of a token of the answer; at most 1. 0 where the text is worth nothing.
  double score(double ratio) const;
};

// Does a score promise answers that lose at most `points` of F1, of 100? By a line that is assumed,
// not fitted yet: docs/decisions/0015-ratio-by-fidelity.md.
bool keeps_within(double score, double points);

// A document's segments in order, with their text.
struct TextSegment {
  const Segment* segment = nullptr;
  std::string text;
};

// Compresses some segments at each ratio and reads their probes behind nothing, the slots and the
// text, in the prompt that `ask` builds. Query-aware methods are not measured (InvalidArgument).
// Errors of the compressor. Cost: for each of options.segments one pass over the text, for each
// ratio one pass of the writer, and three or more over the probes (about 600 tokens a segment).
class TextFidelityMeter {
 public:
  TextFidelityMeter(const model::LanguageModel& model, model::Decoder& decoder,
                    const compress::Compressor& compressor,
                    const backend::ExecutionContext& writing, const ProbeOptions& options);

  TextFidelity measure(std::span<const TextSegment> document, std::span<const double> ratios,
                       const ProbeReaders& readers);

 private:
  model::Sequence behind(const std::vector<compress::ContextPart>& parts,
                         const model::LoraAdapter* adapter);
  ProbeReading read(std::span<const Probe> probes, const std::vector<compress::ContextPart>& parts,
                    const model::LoraAdapter* adapter);

  const model::LanguageModel& model_;
  model::Decoder& decoder_;
  const compress::Compressor& compressor_;
  backend::ExecutionContext writing_;
  ProbeOptions options_;
  std::vector<int32_t> lead_;  // what stands before the memory
};

}  // namespace offbook::learn
