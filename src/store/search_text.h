// BM25 over the passages of one generation, through SQLite's FTS5.
#pragma once
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "src/store/corpus.h"
#include "src/store/fts5_tokenizer.h"

namespace offbook::store {

struct TextQuery {
  std::string text;  // free text; nothing in it is syntax
  int top_k = 50;
  // Shell patterns (fnmatch; '*' also matches '/'); a passage counts when its document's path
  // matches one of them. Empty: all documents.
  std::vector<std::string> path_globs;
};

struct TextHit {
  int64_t passage_id = 0;
  double score = 0;  // BM25, higher is better
};

// Words found in more than 10% of the passages are left out, since they cost most and say least,
// unless nothing would be left. Below kCommonFloor passages a word is never common: there is
// nothing to save in a small corpus. Holds the counts of words it has met until the corpus changes.
// The scoring is ours (k1 1.2, b 0.75, idf log(1 + (N - n + 0.5) / (n + 0.5))): FTS5's bm25() looks
// up the length of every passage in a table, 3 µs each; here lengths are kept in memory (4 bytes a
// passage). Not thread-safe; must not outlive the corpus.
// Cost: grows with the passages that hold one of the words. 10-word questions over 100,000
// passages of 120 Zipf words, -O1 on a busy machine: p50 0.8 to 1.5 ms, p99 20 ms once the counts
// of words are known, 30 to 36 ms before (bench/system/store_bench.cc).
class TextSearcher {
 public:
  static constexpr double kCommonShare = 0.10;
  static constexpr int64_t kCommonFloor = 20;
  static constexpr int kMaxWords = 32;  // the rarest of a longer question
  // Words are taken from the rarest on while the passages that hold them sum to at most this (the
  // rarest always), so that a question's cost has a bound.
  static constexpr int64_t kMaxRows = 50'000;

  TextSearcher(Corpus& corpus, int64_t generation);
  TextSearcher(const TextSearcher&) = delete;
  TextSearcher& operator=(const TextSearcher&) = delete;

  // Best first; equal scores by passage id. Empty when no word is found (or there is no word).
  std::vector<TextHit> search(const TextQuery& query);
  // The words a question is searched with, in the order of the question; for `--explain`.
  std::vector<std::string> words(const std::string& text);

 private:
  struct Word {
    std::string term;  // as indexed
    std::string text;  // as written
    int64_t passages = 0;
    size_t place = 0;
  };
  struct Scoring;

  void refresh();
  void load_lengths();
  int64_t passages_with(const std::string& term);
  std::vector<Word> choose(const std::string& text);
  static std::string match_expression(const std::vector<Word>& words);
  void prepare_scoring(const std::vector<Word>& words);
  std::unordered_set<int64_t> allowed_documents(const TextQuery& query);

  Corpus& corpus_;
  Database& db_;
  int64_t generation_;
  WordCutter cutter_;
  std::vector<int64_t> state_;  // what the caches below were filled at
  std::unordered_map<std::string, int64_t> counts_;
  std::unordered_set<int64_t> members_;
  bool all_are_members_ = false;
  int64_t passage_count_ = 0;
  Scoring* scoring_;      // owned by the connection, where FTS5 keeps the scoring function
  std::string function_;  // its name, one for each searcher
};

}  // namespace offbook::store
