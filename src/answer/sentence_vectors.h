// Vectors of the sentences of passages, kept on disk for the next question that finds the passage.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/model/sentence_encoder.h"
#include "src/store/shelf.h"

namespace offbook::answer {

// The sentences of one passage, in order; the texts stay the caller's.
struct PassageSentences {
  int64_t document = 0;
  std::vector<std::string_view> texts;
};

// Not thread-safe; encoder and shelf must outlive it.
class SentenceVectors {
 public:
  // `fingerprint` names the encoder; `shelf` may be null: nothing is kept.
  SentenceVectors(model::SentenceEncoder& encoder, std::string fingerprint, store::Shelf* shelf)
      : encoder_(encoder), fingerprint_(std::move(fingerprint)), shelf_(shelf) {}

  // For each passage f32 [sentences, dim], of length 1. Cost: one encoder pass over the sentences
  // of passages that are not on the shelf.
  std::vector<Tensor> of(std::span<const PassageSentences> passages);

  // Puts what was computed since the last call on the shelf.
  void store_made();

 private:
  std::string key_of(const PassageSentences& passage) const;

  model::SentenceEncoder& encoder_;
  std::string fingerprint_;
  store::Shelf* shelf_;
  std::vector<store::Shelf::Item> made_;
};

}  // namespace offbook::answer
