// The stage `index`: a vector for every passage that has none yet.
#pragma once
#include <functional>
#include <stop_token>
#include <string>

#include "src/model/sentence_encoder.h"
#include "src/store/corpus.h"

namespace offbook::retrieve {

struct IndexProgress {
  int64_t passages_done = 0, passages_total = 0;
};

struct IndexOptions {
  int batch_passages = 64;         // given to the encoder at once
  double save_every_seconds = 10;  // of a long document's vectors, to go on from
  std::stop_token stop;
  std::function<void(const IndexProgress&)> on_progress;  // after every batch
};

struct IndexResult {
  int64_t documents = 0;  // encoded now
  int64_t passages = 0;
};

// Encodes the passages of all documents of a generation that this encoder has not seen, one unit of
// work (stage "index") a document; goes on where a killed run stopped. The corpus must be open for
// writing. Cancelled when asked to stop; what was done stays. Cost: about 2 × 22 million
// multiply-adds a word piece for MiniLM.
IndexResult index_passages(store::Corpus& corpus, int64_t generation,
                           model::SentenceEncoder& encoder, const std::string& encoder_fingerprint,
                           const IndexOptions& options);

}  // namespace offbook::retrieve
