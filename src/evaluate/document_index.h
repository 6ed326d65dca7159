// The passages of one document, ranked for a question: retrieval inside a long text, without a
// corpus on disk.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/model/sentence_encoder.h"
#include "src/records/document.h"
#include "src/retrieve/bm25.h"
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

// A question as passages are ranked by: made once, used with every index.
struct AskedQuestion {
  std::vector<std::string> terms;  // different ones, sorted
  std::vector<float> vector;       // empty without an encoder
};
// All in one run of the encoder (null: words only).
std::vector<AskedQuestion> asked_questions(std::span<const std::string> questions,
                                           const PassageWords& words,
                                           model::SentenceEncoder* encoder);

// Scores of one document's passages. BM25 (retrieve/bm25.h); dense: cosine
// of MiniLM vectors, a passage longer than the encoder's window by the mean of its windows; hybrid:
// reciprocal rank fusion of both. Immutable: any number of threads may rank.
class DocumentIndex {
 public:
  // `vectors`: one a passage, of length 1; none where only words rank.
  DocumentIndex(std::string_view text, std::vector<ByteSpan> passages, const PassageWords& words,
                std::vector<std::vector<float>> vectors = {});

  const std::vector<ByteSpan>& passages() const noexcept { return passages_; }
  // Indices of all passages, best first; equal scores in the order of the text.
  std::vector<size_t> rank(const AskedQuestion& question, retrieve::Mode mode) const;

 private:
  std::vector<double> cosines(const AskedQuestion& question) const;

  std::vector<ByteSpan> passages_;
  retrieve::PassageBm25 bm25_;
  std::vector<std::vector<float>> vectors_;
};

// A text and its passages.
struct IndexedText {
  std::string_view text;
  std::vector<ByteSpan> passages;
};
// An index a text. `encoder` may be null when only words rank. Cost: one encoding of every passage,
// all in one run.
std::vector<std::unique_ptr<DocumentIndex>> make_document_indexes(std::vector<IndexedText> texts,
                                                                  const PassageWords& words,
                                                                  model::SentenceEncoder* encoder);

}  // namespace offbook::evaluate
