// Sentences of the passages that support an answer, quoted verbatim.
#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "src/answer/focus.h"
#include "src/answer/sentence_vectors.h"
#include "src/records/context.h"
#include "src/retrieve/retriever.h"

namespace offbook::answer {

struct Quote {
  int64_t document = 0;
  int64_t passage_id = 0;
  std::string path;
  std::vector<std::string> headings;
  std::optional<int> page;
  ByteSpan span;  // of the document's text
  std::string text;
  int rank = 0;               // of the retrieval, from 0
  double bm25_share = 0;      // its passage's, of the largest among the passages
  double cosine = 0;          // to the question
  double question_share = 0;  // weighted share of the question's words it holds
  double answer_share = 0;    // of the answer's words that the question does not have
  double score = 0;
};

// Weights were chosen on questions that no bar asks: docs/decisions/0011 and 0013.
struct QuoteOptions {
  int passages = 8;        // the best passages found, whose sentences may be quoted
  size_t max_bytes = 480;  // a longer sentence is quoted in part, cut between words
  double question_weight = 0.6;
  double answer_weight = 0.2;
  double bm25_weight = 0.2;
  double rank_weight = 0.05;  // of 1 / (1 + rank)
};

// The candidates of one question. Words are compared as the full-text index compares them (folded
// and stemmed), weighted by how few of the candidates hold them. Keeps a reference to the corpus;
// not thread-safe. Without vectors words alone decide. Cost: one encoder pass over the sentences
// whose vectors are not kept.
class QuoteFinder {
 public:
  QuoteFinder(store::Corpus& corpus, SentenceVectors* vectors, const std::string& question,
              const retrieve::Retrieval& retrieval, const QuoteOptions& options);

  // Best first, by the question alone while `answer` is empty; at most `count`, of different
  // sentences. Scores are in no unit; equal ones go by rank and place.
  std::vector<Quote> best(std::string_view answer, size_t count) const;

  // Does a quote hold what the answer says: at least half of its weighted words that the question
  // does not have (all of its words where it has no others), and every number.
  bool supports(const Quote& quote, std::string_view answer) const;

 private:
  using Words = std::vector<std::string>;
  struct Candidate {
    Quote quote;
    Words words;           // sorted, once each
    size_t passage = 0;    // of those looked at, from 0
    int64_t sentence = 0;  // of the passage
  };
  Words words_of(std::string_view text) const;
  void add_passage(const retrieve::RankedPassage& ranked, int rank);
  void add_sentence(const retrieve::RankedPassage& ranked, int rank, ByteSpan in_passage);
  void embed(SentenceVectors& vectors, const std::vector<float>& query);
  double weight(const std::string& word) const;
  double share(const Words& wanted, const Words& there) const;

  store::WordCutter cutter_;
  QuoteOptions options_;
  Words question_;
  double largest_bm25_ = 0;
  std::vector<PassageSentences> sentences_;  // of each passage looked at; texts are the retrieval's
  std::vector<Candidate> candidates_;
  std::unordered_map<std::string, int> counts_;
};

// The citation with this number. Corrupt when the quote does not stand in the document's text at
// its span: nothing unchecked is ever shown.
Citation checked_citation(store::Corpus& corpus, const Quote& quote, int number);

}  // namespace offbook::answer
