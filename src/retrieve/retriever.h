// A question → the passages that may answer it.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/model/sentence_encoder.h"
#include "src/retrieve/dense_index.h"
#include "src/store/corpus.h"
#include "src/store/search_text.h"

namespace offbook::retrieve {

enum class Mode : uint8_t { hybrid, words, meaning };

struct RetrieveOptions {
  int top_k = 8;
  int candidates = 50;  // of each ranking that are fused
  Mode mode = Mode::hybrid;
  std::vector<std::string> path_globs;  // fnmatch, '*' also matches '/'; empty: all documents
};

struct RankedPassage {
  Passage passage;
  std::string path;  // of its document
  std::string title;
  double score = 0;                          // of the fused ranking; says nothing across questions
  std::optional<int> text_rank, dense_rank;  // from 1
  double bm25 = 0;                           // 0 without text_rank
  double cosine = 0;                         // 0 without dense_rank
};

struct Retrieval {
  std::vector<RankedPassage> passages;  // best first
  std::vector<float> query_vector;      // empty in Mode::words
  std::vector<std::string> words;       // what BM25 was asked for
  // The best cosine of all passages, and the largest share of the question's content words (found
  // anywhere or not) that one of the passages holds: what a threshold is set on.
  double best_cosine = 0;
  double word_share = 0;
};

struct RetrieverOptions {
  int64_t exact_up_to = kExactUpTo;
};

// Searches one generation as it was when this was made. Not thread-safe; corpus, encoder and pool
// must outlive it. Cost of opening: reads all vectors of the generation.
class Retriever {
 public:
  // InvalidArgument, saying what to run, when passages of the generation have no vectors of this
  // encoder yet.
  Retriever(store::Corpus& corpus, int64_t generation, model::SentenceEncoder& encoder,
            const std::string& encoder_fingerprint, const backend::ExecutionContext& ctx,
            const RetrieverOptions& options = {});

  // NotFound when a glob matches no document; InvalidArgument for an empty question or top_k < 1.
  Retrieval retrieve(const std::string& question, const RetrieveOptions& options);

  // f32 [dim] of length 1; a text longer than the encoder's window is read in windows, of which the
  // mean is taken.
  std::vector<float> encode(const std::string& text);
  model::SentenceEncoder& encoder() noexcept { return encoder_; }
  store::Corpus& corpus() noexcept { return corpus_; }
  int64_t passage_count() const noexcept { return index_->size(); }

 private:
  struct DocumentName {
    std::string path, title;
  };
  std::vector<int64_t> matching_documents(const std::vector<std::string>& globs) const;
  std::vector<std::string> windows_of(const std::string& text) const;
  double word_share(const std::string& question, const RankedPassage& ranked) const;

  store::Corpus& corpus_;
  model::SentenceEncoder& encoder_;
  store::TextSearcher words_;
  store::WordCutter cutter_;
  std::unordered_map<int64_t, DocumentName> names_;
  std::unique_ptr<DenseIndex> index_;
};

// "hybrid", "words", "meaning"; InvalidArgument for another name.
Mode mode_named(std::string_view name);

}  // namespace offbook::retrieve
