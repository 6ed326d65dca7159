// The ratio of each document: the highest at which its text's fidelity promises answers within the
// user's tolerance of the raw text's, else none.
#pragma once
#include <functional>
#include <map>
#include <stop_token>
#include <vector>

#include "src/ingest/token_counter.h"
#include "src/learn/text_fidelity.h"
#include "src/store/corpus.h"

namespace offbook::learn {

inline constexpr const char* kStageRatio = "ratio";

struct RatioOptions {
  // Changes the result.
  std::vector<double> ratios;  // that may be chosen
  double tolerance = 5;        // points of F1, of 100
  // Questions made by rule are what the score rests on; the other probes are left out.
  ProbeOptions probes{.segments = 2, .questions = 12, .recalls = 0, .continued_tokens = 0};
  int64_t fewest_probes = 6;  // a document with fewer stays raw: nothing was shown
  // Changes how it runs.
  std::stop_token stop;
  std::function<void(int64_t done, int64_t total)> on_progress;  // documents
};

struct RatioResult {
  int64_t documents = 0, measured = 0;  // measured: now; the others were before
  int64_t raw = 0, without_probes = 0;  // the latter are raw as well
  std::map<double, int64_t> chosen;     // documents by ratio
};

// Measures the documents of a generation that were not measured with these options, this compressor
// and this model before, each a unit of work (stage "ratio"), the lowest ratio first and higher
// ones while they pass, and stores the choices of all. A stopped or killed run goes on behind the
// last one. The corpus must be open for writing. Errors: Cancelled; those of TextFidelityMeter.
// Cost of a document that stays raw: two passes over two segments, and three over their probes.
RatioResult choose_ratios(store::Corpus& corpus, int64_t generation, TextFidelityMeter& meter,
                          const compress::Compressor& compressor, const Fingerprint& base,
                          const ingest::TokenCounter& counter, const RatioOptions& options);

// Tokens that go through the model for a document of so many that stays raw: what a forecast counts
// with. One that is compressed takes up to twice as many.
double tokens_of_choice(double document_tokens, const RatioOptions& options);

// The ratios a method may be asked for: those its weights were trained for, or 4, 8 and 16.
std::vector<double> trained_ratios(const compress::Compressor& compressor);

// Why a document is compressed at its ratio, or not at all: one clause with the numbers.
std::string reason_of(const store::ChosenRatio& choice, double tolerance);

}  // namespace offbook::learn
