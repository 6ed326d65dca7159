#include "src/learn/choose_ratios.h"

#include <algorithm>
#include <cstdio>

#include "src/ingest/content_hash.h"
#include "src/ingest/segments.h"
#include "src/learn/compress_stage.h"

namespace offbook::learn {
namespace {

// What a choice depends on beside the document.
std::string choice_recipe(const compress::Compressor& compressor, const Fingerprint& base,
                          const RatioOptions& o) {
  const compress::Description& d = compressor.describe();
  return fmt::format("{} {} {} of {} within {} probes {} {} {} {} {} {} least {}", d.id,
                     d.weights_hash, base.model, fmt::join(o.ratios, " "), o.tolerance,
                     o.probes.segments, o.probes.questions, o.probes.recalls,
                     o.probes.continued_tokens, o.probes.recall_tokens, o.probes.seed,
                     o.fewest_probes);
}

// Exact, as the unit's detail.
std::string written(const store::ChosenRatio& c) {
  return fmt::format("{:a} {:a} {}", c.ratio, c.score, c.probes);
}

store::ChosenRatio read_back(const std::string& detail) {
  store::ChosenRatio out;
  const int read = std::sscanf(detail.c_str(), "%la %la %d", &out.ratio, &out.score, &out.probes);
  OB_REQUIRE(read == 3, Corrupt, "the ratio '{}' of a document is none; compress again", detail);
  return out;
}

class Chooser {
 public:
  Chooser(store::Corpus& corpus, TextFidelityMeter& meter, const compress::Compressor& compressor,
          const ingest::TokenCounter& counter, const RatioOptions& options)
      : corpus_(corpus),
        meter_(meter),
        compressor_(compressor),
        counter_(counter),
        options_(options),
        rising_(options.ratios) {
    OB_REQUIRE(!rising_.empty(), InvalidArgument, "there is no ratio to choose from");
    std::sort(rising_.begin(), rising_.end());
  }

  store::ChosenRatio choose(int64_t document) {
    const std::vector<Segment> segments = segments_of(corpus_, document, counter_);
    std::vector<TextSegment> texts;
    for (const Segment& s : segments) {
      texts.push_back({&s, corpus_.documents().text(document, s.span)});
    }
    store::ChosenRatio out{.document = document, .method = compressor_.describe().id};
    const auto some = std::span<const double>(rising_);
    if (take(meter_.measure(texts, some.first(1), {}), some.first(1), out)) {
      take(meter_.measure(texts, some.subspan(1), {}), some.subspan(1), out);
    }
    return out;
  }

 private:
  // The highest of the ratios up to which all pass; whether the last one does.
  bool take(const TextFidelity& f, std::span<const double> ratios, store::ChosenRatio& out) const {
    out.probes = static_cast<int>(f.raw.questions.probes);
    for (const double ratio : ratios) {
      const double score = f.score(ratio);
      const bool passes =
          out.probes >= options_.fewest_probes && keeps_within(score, options_.tolerance);
      if (passes || out.ratio == 0) {
        out.score = score;
      }
      if (!passes) {
        return false;
      }
      out.ratio = ratio;
    }
    return true;
  }

  store::Corpus& corpus_;
  TextFidelityMeter& meter_;
  const compress::Compressor& compressor_;
  const ingest::TokenCounter& counter_;
  const RatioOptions& options_;
  std::vector<double> rising_;
};

}  // namespace

RatioResult choose_ratios(store::Corpus& corpus, int64_t generation, TextFidelityMeter& meter,
                          const compress::Compressor& compressor, const Fingerprint& base,
                          const ingest::TokenCounter& counter, const RatioOptions& options) {
  const std::string recipe = choice_recipe(compressor, base, options);
  const std::vector<store::StoredDocument> documents = corpus.documents().list(generation);
  std::map<std::string, int64_t> numbers;
  std::vector<store::WorkUnit> units;
  for (const store::StoredDocument& d : documents) {
    numbers[d.document.id] = d.number;
    units.push_back(
        {d.document.id, ingest::hash_text(fmt::format("{} {}", recipe, d.document.content_hash))});
  }
  RatioResult result{.documents = static_cast<int64_t>(documents.size())};
  Chooser chooser(corpus, meter, compressor, counter, options);
  store::Batch batch(corpus, {});
  corpus.jobs().plan(kStageRatio, units);
  const int64_t before = corpus.jobs().counts(kStageRatio).done;
  while (const auto job = corpus.jobs().claim(kStageRatio)) {
    if (options.stop.stop_requested()) {
      corpus.jobs().reset(kStageRatio, job->unit);
      batch.commit();
      OB_THROW(Cancelled, "stopped after the ratios of {} documents; the same command goes on",
               before + result.measured);
    }
    corpus.jobs().complete(kStageRatio, job->unit, written(chooser.choose(numbers.at(job->unit))));
    ++result.measured;
    batch.unit_done();
    if (options.on_progress) {
      options.on_progress(before + result.measured, result.documents);
    }
  }
  for (const auto& [id, number] : numbers) {
    store::ChosenRatio choice = read_back(corpus.jobs().find(kStageRatio, id)->detail);
    choice.document = number;
    choice.method = compressor.describe().id;
    corpus.generations().put_ratio(generation, choice);
    if (choice.ratio > 0) {
      ++result.chosen[choice.ratio];
    } else {
      ++result.raw;
      result.without_probes += choice.probes < options.fewest_probes ? 1 : 0;
    }
  }
  batch.commit();
  return result;
}

double tokens_of_choice(double document_tokens, const RatioOptions& o) {
  constexpr double kProbeTokens = 40;
  const double segments =
      std::min(document_tokens / ingest::kMaxSegmentTokens, static_cast<double>(o.probes.segments));
  const double read = 2.1 * segments * ingest::kMaxSegmentTokens;  // raw, and by the writer
  return read + 3 * segments * static_cast<double>(o.probes.questions) * kProbeTokens;
}

std::vector<double> trained_ratios(const compress::Compressor& compressor) {
  std::vector<double> out;
  if (compressor.describe().needs_training) {
    for (const auto& ratio :
         compressor.weights().settings.value("ratios", nlohmann::json::array())) {
      out.push_back(ratio.get<double>());
    }
  }
  return out.empty() ? std::vector<double>{4, 8, 16} : out;
}

std::string reason_of(const store::ChosenRatio& c, double tolerance) {
  if (c.ratio == 0 && c.probes == 0) {
    return "raw: no question could be made from its text, so nothing shows what slots keep";
  }
  const std::string numbers = fmt::format(
      "slots keep {:.2f} of what the text is worth to {} questions made from it, "
      "tolerance {:g} points of F1",
      c.score, c.probes, tolerance);
  return c.ratio > 0 ? fmt::format("compressed {:g}×: {}", c.ratio, numbers)
                     : fmt::format("raw: {}", numbers);
}

}  // namespace offbook::learn
