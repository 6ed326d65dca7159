#include "src/retrieve/index_stage.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "src/base/error.h"
#include "src/base/float16.h"
#include "src/store/check.h"

namespace offbook::retrieve {
namespace {

using Seconds = std::chrono::duration<double>;

// The vectors of one document while it is being encoded.
class DocumentVectors {
 public:
  DocumentVectors(std::vector<Passage> passages, int64_t dims, std::string encoder)
      : passages_(std::move(passages)),
        block_{.encoder = std::move(encoder),
               .ids = Tensor::empty(Dtype::i64, {count()}),
               .vectors = Tensor::empty(Dtype::bf16, {count(), dims})} {
    for (int64_t i = 0; i < count(); ++i) {
      block_.ids.data<int64_t>()[i] = passages_[static_cast<size_t>(i)].id;
    }
  }

  int64_t count() const { return static_cast<int64_t>(passages_.size()); }
  int64_t done() const { return done_; }
  const store::VectorBlock& block() const { return block_; }

  // Takes over what an earlier run saved, if it belongs to the same passages.
  void restore(const store::Artefact& state) {
    const Tensor* rows = state.find("vectors");
    if (rows == nullptr || rows->dtype() != Dtype::bf16 || rows->rank() != 2 ||
        rows->dim(1) != block_.vectors.dim(1) || rows->dim(0) > count()) {
      return;
    }
    std::copy_n(rows->data<uint16_t>(), rows->numel(), block_.vectors.data<uint16_t>());
    done_ = rows->dim(0);
  }
  store::Artefact state() const {
    return {.kind = store::ArtefactKind::job_state,
            .model = block_.encoder,
            .tensors = {{"vectors", block_.vectors.slice(0, 0, done_)}}};
  }

  void encode_some(model::SentenceEncoder& encoder, int most) {
    const int64_t end = std::min<int64_t>(done_ + most, count());
    std::vector<std::string_view> texts;
    for (int64_t i = done_; i < end; ++i) {
      texts.push_back(passages_[static_cast<size_t>(i)].text);
    }
    const Tensor made = encoder.encode(texts);
    uint16_t* to = block_.vectors.data<uint16_t>() + done_ * made.dim(1);
    for (int64_t i = 0; i < made.numel(); ++i) {
      to[i] = to_bf16(made.data<float>()[i]).bits;
    }
    done_ = end;
  }

 private:
  std::vector<Passage> passages_;
  store::VectorBlock block_;
  int64_t done_ = 0;
};

class Indexer {
 public:
  Indexer(store::Corpus& corpus, model::SentenceEncoder& encoder, const std::string& fingerprint,
          const IndexOptions& options)
      : corpus_(corpus), encoder_(encoder), fingerprint_(fingerprint), options_(options) {}

  IndexResult run(int64_t generation) {
    plan(generation);
    store::Batch batch(corpus_, {});
    while (const auto job = corpus_.jobs().claim(store::kStageIndex)) {
      encode_document(numbers_.at(job->unit), job->unit, batch);
      ++result_.documents;
      batch.unit_done();
    }
    batch.commit();
    return result_;
  }

 private:
  void plan(int64_t generation) {
    std::vector<store::WorkUnit> units;
    std::set<std::string> seen;
    for (const store::StoredDocument& d : corpus_.documents().list(generation)) {
      numbers_[d.document.id] = d.number;
      units.push_back({d.document.id, fmt::format("{}/{}", d.number, fingerprint_)});
      if (!corpus_.vectors().contains(d.number, fingerprint_)) {
        progress_.passages_total += d.passage_count;
      } else {
        seen.insert(d.document.id);
      }
    }
    store::Batch batch(corpus_, {});
    corpus_.jobs().plan(store::kStageIndex, units);
    for (const auto& unit : units) {  // a damaged artefact was dropped: its document is to do again
      if (seen.contains(unit.unit)) {
        corpus_.jobs().complete(store::kStageIndex, unit.unit);
      } else if (corpus_.jobs().find(store::kStageIndex, unit.unit)->state ==
                 store::JobState::done) {
        corpus_.jobs().reset(store::kStageIndex, unit.unit);
      }
    }
    batch.commit();
  }

  void encode_document(int64_t number, const std::string& unit, store::Batch& batch) {
    DocumentVectors vectors(corpus_.documents().passages(number), encoder_.dim(), fingerprint_);
    if (const auto state = corpus_.jobs().load_state(store::kStageIndex, unit)) {
      vectors.restore(*state);
    }
    progress_.passages_done += vectors.done();
    auto saved = std::chrono::steady_clock::now();
    while (vectors.done() < vectors.count()) {
      OB_REQUIRE(!options_.stop.stop_requested(), Cancelled, "stopped while encoding passages");
      const int64_t before = vectors.done();
      vectors.encode_some(encoder_, options_.batch_passages);
      progress_.passages_done += vectors.done() - before;
      result_.passages += vectors.done() - before;
      if (options_.on_progress) {
        options_.on_progress(progress_);
      }
      const auto now = std::chrono::steady_clock::now();
      if (Seconds(now - saved).count() >= options_.save_every_seconds) {
        corpus_.jobs().save_state(store::kStageIndex, unit, vectors.state());
        batch.commit();
        saved = now;
      }
    }
    corpus_.vectors().put(number, vectors.block());
    corpus_.jobs().complete(store::kStageIndex, unit);
  }

  store::Corpus& corpus_;
  model::SentenceEncoder& encoder_;
  const std::string& fingerprint_;
  const IndexOptions& options_;
  std::map<std::string, int64_t> numbers_;
  IndexProgress progress_;
  IndexResult result_;
};

}  // namespace

IndexResult index_passages(store::Corpus& corpus, int64_t generation,
                           model::SentenceEncoder& encoder, const std::string& encoder_fingerprint,
                           const IndexOptions& options) {
  return Indexer(corpus, encoder, encoder_fingerprint, options).run(generation);
}

}  // namespace offbook::retrieve
