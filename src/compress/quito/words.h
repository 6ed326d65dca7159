// QUITO's filters: attention weights of a document's tokens → words → what is kept. No model here.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "src/records/document.h"

namespace offbook::compress {

// A run of tokens up to the next that begins with a space; line ends stay within the word. The span
// includes the space in front.
struct Word {
  ByteSpan span;
  double score = 0;  // the largest weight of its tokens
  int32_t tokens = 0;
  // As the program of November 2025 counts: one more for a first word without a space in front, and
  // without the tokens of dropped spaces.
  int32_t published_tokens = 0;
};

// Words of a text whose tokens have these spans and weights (one each). A token of one space before
// another space is no word: it counts for the word that follows. Linear.
std::vector<Word> merge_words(std::string_view text, std::span<const ByteSpan> spans,
                              std::span<const double> weights);

// exp(w_i) / Σ exp(w): what the published program does to weights that are already normalised.
void softmax(std::vector<double>& weights);

// scipy.ndimage.gaussian_filter1d with its defaults: cut at 4 sigma, ends mirrored with the last
// sample repeated. sigma 0 changes nothing; InvalidArgument for a negative one or above 100.
std::vector<double> gaussian_smooth(std::span<const double> values, double sigma);

enum class QuitoFilter : uint8_t { phrase, sentence, dynamic_sentence };
// Which rules: `paper` is the program of August 2024 (smooths in the phrase filter only, keeps
// words by rank), `head` that of November 2025 (smooths always, counts tokens), `exact` is ours: as
// `head`, but counted in tokens everywhere, filled up to the budget and never beyond it, and
// fragments of sentences stay where they stood.
enum class QuitoRules : uint8_t { paper, head, exact };

struct QuitoFilterOptions {
  QuitoFilter filter = QuitoFilter::phrase;
  QuitoRules rules = QuitoRules::exact;
  double sigma = 1;
  // Share of words or tokens to keep, in [0, 1].
  double ratio = 0.5;
  // `exact` only, instead of the ratio: tokens to keep at most.
  std::optional<int64_t> token_budget;
};

// Indices of the kept words. They rise, but with `paper` and `head` a fragment's words stand at the
// end. `sentence_ends[s]` is the index after the last word of sentence s; read by the sentence
// filters only. `paper` and `head` may go beyond the budget by a fragment: the published growth
// adds two words at a time. InvalidArgument for a ratio outside [0, 1], a budget with other rules,
// or ends that do not rise to the number of words. O(n log n).
std::vector<int32_t> keep_words(std::span<const Word> words, std::span<const int32_t> sentence_ends,
                                const QuitoFilterOptions& options);

// Where the sentences end, in words: a word belongs to the sentence in which it begins.
std::vector<int32_t> sentence_ends(std::string_view text, std::span<const Word> words,
                                   std::span<const ByteSpan> sentences);

}  // namespace offbook::compress
