#include "src/answer/sentence_vectors.h"

#include <numeric>
#include <utility>

#include "src/store/context_artefact.h"
#include "src/store/hash.h"

namespace offbook::answer {

namespace {

// Vectors of sentences, numbered from 0, in the form of passage vectors.
store::Artefact as_artefact(const std::string& encoder, const Tensor& vectors) {
  const Tensor ids = Tensor::empty(Dtype::i64, {vectors.dim(0)});
  std::iota(ids.data<int64_t>(), ids.data<int64_t>() + ids.numel(), 0);
  return store::to_artefact(store::VectorBlock{.encoder = encoder, .ids = ids, .vectors = vectors});
}

}  // namespace

std::string SentenceVectors::key_of(const PassageSentences& passage) const {
  store::Hasher hasher;
  hasher.add_text("sentence vectors 1").add_text(fingerprint_);
  for (const std::string_view text : passage.texts) {
    hasher.add_text(text);
  }
  return store::to_hex(hasher.digest());
}

std::vector<Tensor> SentenceVectors::of(std::span<const PassageSentences> passages) {
  std::vector<Tensor> out(passages.size());
  std::vector<store::ShelfPlace> places;
  std::vector<size_t> missing;
  std::vector<std::string_view> texts;
  for (size_t i = 0; i < passages.size(); ++i) {
    const PassageSentences& p = passages[i];
    const Shape shape{std::ssize(p.texts), encoder_.dim()};
    places.push_back({p.document, key_of(p)});
    const auto stored =
        shelf_ != nullptr ? shelf_->get(places[i], store::ArtefactKind::vectors) : std::nullopt;
    const Tensor* vectors = stored ? stored->find("vectors") : nullptr;
    if (vectors != nullptr && vectors->dtype() == Dtype::f32 && vectors->shape() == shape) {
      out[i] = *vectors;
    } else {
      missing.push_back(i);
      texts.insert(texts.end(), p.texts.begin(), p.texts.end());
    }
  }
  if (texts.empty()) {
    return out;
  }
  const Tensor vectors = encoder_.encode(texts);
  int64_t at = 0;
  for (const size_t i : missing) {
    const int64_t count = std::ssize(passages[i].texts);
    out[i] = vectors.slice(0, at, at + count);
    at += count;
    if (shelf_ != nullptr) {
      made_.push_back({places[i], as_artefact(fingerprint_, out[i])});
    }
  }
  return out;
}

void SentenceVectors::store_made() {
  if (shelf_ != nullptr) {
    shelf_->put_all(std::exchange(made_, {}));
  }
}

}  // namespace offbook::answer
