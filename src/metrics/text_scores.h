// Scores of a short answer against accepted answers: SQuAD's exact match and token F1, containment,
// and edit similarity. All are in [0, 1]; a score against several references is the best one.
// Free functions without state: any thread may call them.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offbook::metrics {

// Lower case, ASCII punctuation dropped, the words a/an/the dropped, white space squeezed
// (SQuAD v1.1 and v2.0, HotpotQA, LongBench, SCROLLS and ∞Bench share it).
std::string normalize_answer(std::string_view text);

// The words of normalize_answer.
std::vector<std::string> answer_tokens(std::string_view text);

// What an answer without any word is worth.
enum class EmptyRule {
  zero,      // SQuAD v1.1, SCROLLS, LongBench, ∞Bench: no common word, F1 0
  no_answer  // SQuAD v2.0: 1 where both are empty, so that an unanswerable question can be right
};

// F1 of the two bags of words; one reference. Cost: linear.
double token_f1(std::string_view prediction, std::string_view reference,
                EmptyRule rule = EmptyRule::zero);
// The best over the references. InvalidArgument where there is none.
double token_f1(std::string_view prediction, std::span<const std::string> references);

// 1 where the normalised texts are equal. InvalidArgument without a reference.
double exact_match(std::string_view prediction, std::string_view reference);
double exact_match(std::string_view prediction, std::span<const std::string> references);

struct SquadScore {
  double exact = 0;
  double f1 = 0;
};
// As the SQuAD v2.0 script: references that normalise to nothing are left out, and where none stays
// (also where `references` is empty) the question is unanswerable and only an empty answer is
// right.
SquadScore squad2_score(std::string_view prediction, std::span<const std::string> references);

// What stands before the first full stop: LLoCO scores HotpotQA on this.
std::string_view before_full_stop(std::string_view prediction);

// 1 where a reference stands verbatim in the prediction.
double contains_exactly(std::string_view prediction, std::span<const std::string> references);
// The same after normalize_answer on both sides, at word borders ("art" is not in "party"); a
// reference that normalises to nothing is never contained.
double contains_normalized(std::string_view prediction, std::span<const std::string> references);
// QUITO's NQ accuracy: lower-case ASCII, every other character a '?', substring.
double contains_quito(std::string_view prediction, std::span<const std::string> references);
// ASQA's EM recall: share of the answer sets of which some alias is a substring, ignoring case.
double asqa_em_recall(std::string_view prediction,
                      std::span<const std::vector<std::string>> answer_sets);

// Normalised Indel similarity over characters, 2·LCS / (|a| + |b|), 1 for two empty texts:
// rapidfuzz's fuzz.ratio / 100 (not Levenshtein, which would count a replacement once).
double edit_similarity(std::string_view a, std::string_view b);
// LongBench's code score: fuzzywuzzy's fuzz.ratio (rounded to whole percents) of the first line of
// the prediction that has neither '`' nor '#' nor "//".
double longbench_code_similarity(std::string_view prediction, std::string_view reference);

}  // namespace offbook::metrics
