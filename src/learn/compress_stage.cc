#include "src/learn/compress_stage.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "src/base/ordered_work.h"
#include "src/ingest/segments.h"
#include "src/store/check.h"

namespace offbook::learn {
namespace {

constexpr const char* kLeftOut = "left out: over the budget of bytes";
// Spans, ranges and the header of a small artefact, beside its numbers.
constexpr uint64_t kArtefactBytes = 1024;

std::string unit_of(const Segment& segment) {
  return fmt::format("{}/{:08}", segment.document_id, segment.ordinal);
}

class Compression {
 public:
  Compression(store::Corpus& corpus, const compress::Compressor& compressor,
              const compress::BaseModel& base, const ingest::TokenCounter& counter,
              const backend::ExecutionContext& ctx, const CompressOptions& options)
      : corpus_(corpus),
        compressor_(compressor),
        base_(base),
        counter_(counter),
        ctx_(ctx),
        options_(options),
        writers_(options.threads) {}

  CompressResult run(int64_t generation) {
    plan(generation);
    if (!compressor_.describe().is_query_aware) {
      work();
    }
    result_.bytes = corpus_.contexts().stored_bytes();
    return result_;
  }

 private:
  struct Item {
    int64_t document = 0;
    Segment segment;
    double ratio = 1;
  };
  // A context on its way to the disk.
  struct Written {
    Item item;
    CompressedContext context;
    store::ContextTable::Stored stored;
  };

  double ratio_of(int64_t document) const {
    return options_.ratio_of ? options_.ratio_of(document) : options_.ratio;
  }
  store::ContextRecipe recipe(double ratio) const { return recipe_of(compressor_, base_, ratio); }

  void plan(int64_t generation) {
    std::vector<store::WorkUnit> units;
    std::vector<bool> is_there;
    store::Batch batch(corpus_, {});
    const auto add = [&](int64_t document, const std::vector<Segment>& segments) {
      const store::ContextRecipe recipe = this->recipe(ratio_of(document));
      for (const Segment& s : segments) {
        units.push_back({unit_of(s), store::context_key(s, recipe)});
        is_there.push_back(corpus_.contexts().reuse(document, s, recipe));
        (is_there.back() ? result_.reused : result_.segments) += 1;
        total_ += is_there.back() ? 0 : static_cast<int64_t>(s.tokens.size());
      }
      batch.unit_done();
    };
    for_each_segmented(generation, add);
    result_.segments += result_.reused;
    if (compressor_.describe().is_query_aware) {
      units.clear();
    }
    corpus_.jobs().plan(store::kStageCompress, units);
    for (size_t i = 0; i < units.size(); ++i) {
      // Done but not there: evicted, damaged, or left out by an earlier run.
      if (is_there[i]) {
        corpus_.jobs().complete(store::kStageCompress, units[i].unit);
      } else if (corpus_.jobs().find(store::kStageCompress, units[i].unit)->state ==
                 store::JobState::done) {
        corpus_.jobs().reset(store::kStageCompress, units[i].unit);
      }
    }
    batch.commit();
  }

  // Segments that are stored, or new ones (a document's version never changes), of documents that
  // are compressed at all. Documents are cut ahead, taken in order.
  template <typename Visit>
  void for_each_segmented(int64_t generation, Visit visit) {
    struct Cut {
      int64_t document = 0;
      bool is_new = false;
      std::vector<Segment> segments;
    };
    OrderedWork<Cut> cutters(options_.threads);
    const auto take = [&] {
      const Cut cut = cutters.take();
      if (cut.is_new) {
        corpus_.contexts().put_segments(cut.document, cut.segments);
      }
      visit(cut.document, cut.segments);
    };
    for (const store::StoredDocument& d : corpus_.documents().list(generation)) {
      require_going();
      ++result_.documents;
      if (ratio_of(d.number) <= 0) {
        continue;
      }
      numbers_[d.document.id] = d.number;
      std::vector<Segment> there = corpus_.contexts().segments(d.number);
      if (!there.empty()) {
        cutters.submit([number = d.number, there = std::move(there)]() mutable {
          return Cut{number, false, std::move(there)};
        });
      } else {
        cutters.submit([this, document = corpus_.documents().load(d.number),
                        passages = corpus_.documents().passages(d.number), number = d.number] {
          return Cut{number, true, ingest::make_segments(document, passages, counter_)};
        });
      }
      while (cutters.size() > ahead()) {
        take();
      }
    }
    while (cutters.size() > 0) {
      take();
    }
  }

  // Tasks that may wait for their results to be taken: bounds memory.
  size_t ahead() const { return 4 * static_cast<size_t>(options_.threads); }

  void work() {
    store::Batch batch(corpus_, {});
    free_bytes();
    while (true) {
      stop_if_asked(batch);
      std::vector<Item> group;
      while (group.size() < options_.segments_at_once) {
        const auto job = corpus_.jobs().claim(store::kStageCompress);
        if (!job) {
          break;
        }
        group.push_back(item_of(job->unit));
      }
      if (group.empty()) {
        break;
      }
      compress(group);
      while (writers_.size() > ahead()) {
        store_oldest(batch);
      }
    }
    store_all(batch);
    batch.commit();
  }

  // What was made is kept before the run ends.
  void stop_if_asked(store::Batch& batch) {
    if (options_.stop.stop_requested()) {
      store_all(batch);
      require_going();
    }
  }

  // Room for what is to be made, by evicting what another compressor or ratio left.
  void free_bytes() {
    const uint64_t wanted = stored_bytes(compressor_, base_.llama.config(), total_, options_);
    kept_bytes_ = corpus_.contexts().stored_bytes();
    if (kept_bytes_ + wanted > options_.max_bytes) {
      if (!options_.ratio_of) {  // else several ratios are in use
        corpus_.contexts().evict_others(recipe(options_.ratio));
      }
      corpus_.contexts().enforce_budget(options_.max_bytes);
      kept_bytes_ = corpus_.contexts().stored_bytes();
    }
  }

  Item item_of(const std::string& unit) {
    const size_t slash = unit.rfind('/');
    const int64_t number = numbers_.at(unit.substr(0, slash));
    const auto ordinal = static_cast<size_t>(std::stoul(unit.substr(slash + 1)));
    if (number != loaded_document_) {
      loaded_ = corpus_.contexts().segments(number);
      loaded_document_ = number;
    }
    return {number, loaded_.at(ordinal), ratio_of(number)};
  }

  void compress(std::vector<Item>& group) {
    std::vector<Item> kept;
    for (Item& item : group) {
      const auto tokens = static_cast<int64_t>(item.segment.tokens.size());
      CompressOptions at = options_;
      at.ratio = item.ratio;
      const uint64_t bytes = stored_bytes(compressor_, base_.llama.config(), tokens, at);
      if (corpus_.contexts().reuse(item.document, item.segment, recipe(item.ratio))) {
        corpus_.jobs().complete(store::kStageCompress, unit_of(item.segment));
        ++result_.reused;  // made for an equal segment a moment ago
        report(tokens);
      } else if (kept_bytes_ + bytes > options_.max_bytes) {
        corpus_.jobs().complete(store::kStageCompress, unit_of(item.segment), kLeftOut);
        ++result_.left_out;
        report(tokens);
      } else {
        kept_bytes_ += bytes;
        kept.push_back(std::move(item));
      }
    }
    make(std::move(kept));
  }

  void make(std::vector<Item> items) {
    if (items.empty()) {
      return;
    }
    std::vector<std::string> texts;
    std::vector<compress::Request> requests;
    for (const Item& item : items) {
      texts.push_back(corpus_.documents().text(item.document, item.segment.span));
    }
    for (size_t i = 0; i < items.size(); ++i) {
      requests.push_back(
          {.segment = &items[i].segment, .text = texts[i], .budget = {.ratio = items[i].ratio}});
    }
    std::vector<CompressedContext> contexts = compressor_.compress(ctx_, requests);
    for (size_t i = 0; i < items.size(); ++i) {
      auto written = std::make_shared<Written>(
          Written{.item = std::move(items[i]), .context = std::move(contexts[i])});
      writers_.submit([&artefacts = corpus_.artefacts(), precision = options_.precision, written] {
        written->stored = store::ContextTable::put_artefact(artefacts, written->item.segment,
                                                            written->context, precision);
        return written;
      });
    }
  }

  void store_oldest(store::Batch& batch) {
    const std::shared_ptr<Written> written = writers_.take();
    const CompressedContext& context = written->context;
    corpus_.contexts().put_row(written->item.document, written->item.segment, context,
                               written->stored);
    corpus_.jobs().complete(store::kStageCompress, unit_of(written->item.segment));
    ++result_.made;
    result_.tokens_before += context.tokens_before;
    result_.tokens_after += context.tokens_after;
    batch.unit_done();
    report(context.tokens_before);
  }

  void store_all(store::Batch& batch) {
    while (writers_.size() > 0) {
      store_oldest(batch);
    }
  }

  void report(int64_t tokens) {
    done_ += tokens;
    if (options_.on_progress) {
      options_.on_progress(done_, total_);
    }
  }

  void require_going() const {
    OB_REQUIRE(!options_.stop.stop_requested(), Cancelled,
               "compression was stopped after {} of {} tokens; the same command goes on from there",
               done_, total_);
  }

  store::Corpus& corpus_;
  const compress::Compressor& compressor_;
  const compress::BaseModel& base_;
  const ingest::TokenCounter& counter_;
  const backend::ExecutionContext& ctx_;
  const CompressOptions& options_;
  std::map<std::string, int64_t> numbers_;  // of documents, by id
  std::vector<Segment> loaded_;             // of the document in hand
  int64_t loaded_document_ = 0;
  uint64_t kept_bytes_ = 0;
  int64_t done_ = 0, total_ = 0;
  CompressResult result_;
  OrderedWork<std::shared_ptr<Written>> writers_;  // ends before what it uses
};

}  // namespace

store::ContextRecipe recipe_of(const compress::Compressor& compressor,
                               const compress::BaseModel& base, double ratio) {
  return {.method = compressor.describe().id,
          .weights_hash = compressor.describe().weights_hash,
          .base = base.fingerprint,
          .ratio = ratio};
}

CompressResult compress_documents(store::Corpus& corpus, int64_t generation,
                                  const compress::Compressor& compressor,
                                  const compress::BaseModel& base,
                                  const ingest::TokenCounter& counter,
                                  const backend::ExecutionContext& ctx,
                                  const CompressOptions& options) {
  return Compression(corpus, compressor, base, counter, ctx, options).run(generation);
}

std::vector<Segment> segments_of(store::Corpus& corpus, int64_t document,
                                 const ingest::TokenCounter& counter) {
  std::vector<Segment> segments = corpus.contexts().segments(document);
  if (segments.empty()) {
    segments = ingest::make_segments(corpus.documents().load(document),
                                     corpus.documents().passages(document), counter);
    corpus.contexts().put_segments(document, segments);
  }
  return segments;
}

double measure_compression(const compress::Compressor& compressor,
                           const ingest::TokenCounter& counter,
                           const backend::ExecutionContext& ctx, double ratio) {
  constexpr size_t kTokens = 768;
  std::string text;
  for (int i = 0; i < 100; ++i) {
    text += fmt::format("Section {} says that members met and agreed on it. ", i);
  }
  ingest::BaseTokens tokens = counter.tokenize_base(text);
  tokens.ids.resize(std::min(kTokens, tokens.ids.size()));
  tokens.spans.resize(tokens.ids.size());
  text.resize(tokens.spans.back().end);
  const Segment segment{
      .span = {0, text.size()}, .tokens = tokens.ids, .token_spans = tokens.spans};
  const compress::Request request{.segment = &segment, .text = text, .budget = {.ratio = ratio}};
  compressor.compress(ctx, std::span(&request, 1));
  const auto began = std::chrono::steady_clock::now();
  compressor.compress(ctx, std::span(&request, 1));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
  return static_cast<double>(segment.tokens.size()) / std::max(1e-6, seconds.count());
}

uint64_t stored_bytes(const compress::Compressor& compressor, const model::ModelConfig& config,
                      int64_t tokens, const CompressOptions& options) {
  const auto slots =
      static_cast<uint64_t>(std::ceil(static_cast<double>(tokens) / std::max(1.0, options.ratio)));
  const auto segments =
      static_cast<uint64_t>((tokens + ingest::kMaxSegmentTokens - 1) / ingest::kMaxSegmentTokens);
  const auto heads = static_cast<uint64_t>(config.layers * config.kv_heads);
  const auto values = heads * 2 * static_cast<uint64_t>(config.head_dim);
  switch (compressor.describe().kind) {
    case ContextKind::text:
      return slots * 5 + segments * kArtefactBytes;  // 4.1 bytes a token of English, and spans
    case ContextKind::soft_tokens:
      return slots * (static_cast<uint64_t>(config.hidden) * 2 + 16) + segments * kArtefactBytes;
    case ContextKind::kv_prefix: {
      const uint64_t bits = static_cast<uint64_t>(options.precision);
      const bool is_quantised = options.precision != store::KvPrecision::as_made;
      // Ranges: a channel of keys a segment, a slot and head of values; and the sink in 16 bits.
      const uint64_t ranges =
          is_quantised
              ? slots * heads * 4 + segments * heads * static_cast<uint64_t>(config.head_dim) * 4
              : 0;
      return slots * (values * bits / 8 + 16) + ranges + segments * (values * 2 + kArtefactBytes);
    }
  }
  OB_CHECK(false);
}

}  // namespace offbook::learn
