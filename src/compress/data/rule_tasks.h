// Questions on a document made by rule, and where a given question's answer rests.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "src/base/random.h"
#include "src/compress/data/recipe.h"
#include "src/compress/data/shards.h"
#include "src/records/document.h"

namespace offbook::compress {

// A question in words.
struct WordedExample {
  ExampleKind kind = ExampleKind::given;
  ByteSpan evidence;  // of the document's text; empty: not known
  std::string question, answer;
};

// Questions on `text` of `tokens` tokens, at most as many of each kind as the shares allow, chosen
// at random. English patterns (ingest/rule_questions.h); keywords are three long words of a
// sentence, out of order, that stand for the sentence itself. Linear.
std::vector<WordedExample> rule_examples(std::string_view text, int64_t tokens,
                                         const RuleShare& shares, Random& random);

// The run of three sentences that shares most with question and answer: content words, rarer ones
// count more (idf over the sentences), those of the answer twice. Empty when nothing is shared.
// `sentences` are those of the text.
class EvidenceFinder {
 public:
  explicit EvidenceFinder(std::string_view text);
  ByteSpan find(std::string_view question, std::string_view answer) const;

 private:
  std::vector<ByteSpan> sentences_;
  std::vector<std::vector<uint64_t>> stems_;  // of each sentence, sorted, distinct
};

}  // namespace offbook::compress
