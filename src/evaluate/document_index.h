// The passages of one document, ranked for a question: retrieval inside a long text, without a
// corpus on disk.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/model/sentence_encoder.h"
#include "src/records/document.h"
#include "src/retrieve/retriever.h"
#include "src/store/fts5_tokenizer.h"

namespace offbook::evaluate {

// Words of passages, folded and stemmed as the corpus's full-text index has them.
class PassageWords {
 public:
  PassageWords();
  std::vector<std::string> of(std::string_view text) const;

 private:
  std::unique_ptr<store::Database> db_;  // of no tables: the tokenizer belongs to a connection
  std::unique_ptr<store::WordCutter> cutter_;
};

// Runs of `words` words as white space parts them, the last one shorter (Xu et al., 300 words).
std::vector<ByteSpan> word_passages(std::string_view text, int64_t words);

// Scores of one document's passages. BM25 as the corpus computes it (k1 1.2, b 0.75); dense: cosine
// of MiniLM vectors, a passage longer than the encoder's window by the mean of its windows; hybrid:
// reciprocal rank fusion of both.
class DocumentIndex {
 public:
  // Borrows the text, the words and the encoder. `encoder` may be null when only words rank. Cost:
  // one encoding of every passage.
  DocumentIndex(std::string_view text, std::vector<ByteSpan> passages, const PassageWords& words,
                model::SentenceEncoder* encoder);

  const std::vector<ByteSpan>& passages() const noexcept { return passages_; }
  // Indices of all passages, best first; equal scores in the order of the text.
  std::vector<size_t> rank(const std::string& question, retrieve::Mode mode) const;

 private:
  std::vector<double> bm25(const std::string& question) const;
  std::vector<double> cosines(const std::string& question) const;
  std::vector<float> encode(std::string_view text) const;

  std::string_view text_;
  std::vector<ByteSpan> passages_;
  const PassageWords& words_;
  model::SentenceEncoder* encoder_;
  std::vector<std::vector<std::string>> terms_;
  double mean_length_ = 0;
  std::vector<std::vector<float>> vectors_;
};

}  // namespace offbook::evaluate
