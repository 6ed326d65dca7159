#include "apps/offbook/stages.h"

#include "apps/offbook/model_memory.h"
#include "apps/offbook/slot_use.h"
#include "apps/offbook/training_stages.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "src/learn/choose_ratios.h"

namespace offbook::app {
namespace {

// Measured on the stored example documents: their text packed, its words' index and passage rows
// take 1.5 bytes a byte of text, an empty corpus 160 KiB, a passage holds 0.64 of the tokens it
// may.
constexpr double kStoreBytesPerTextByte = 1.55;
constexpr double kEmptyCorpusBytes = 160 * 1024;
constexpr double kVectorBytesPerPassage = 384 * 2 + 16;
constexpr double kBytesPerToken = 4.1;
constexpr double kPassageFill = 0.64;

Forecast forecast_ingest(const Workload& w) {
  return {
      .seconds = w.read_bytes_per_second > 0 ? w.text_bytes / w.read_bytes_per_second : 0,
      .disk_bytes =
          static_cast<uint64_t>(w.text_bytes * kStoreBytesPerTextByte + kEmptyCorpusBytes),
      .memory_bytes = w.model_bytes + std::min<uint64_t>(3 * w.source_bytes, uint64_t{1} << 30)};
}

Forecast forecast_index(const Workload& w) {
  return {.seconds = w.passages * w.encode_seconds_per_passage,
          .disk_bytes = static_cast<uint64_t>(w.passages * kVectorBytesPerPassage),
          .memory_bytes = w.model_bytes + (uint64_t{192} << 20)};
}

void run_ingest_stage(LearnJob& job) {
  Progress progress(job.shell, "ingest", "files");
  job.ingest.reading.stop = job.shell.stop();
  job.ingest.reading.read.stop = job.shell.stop();
  job.ingest.reading.on_progress = [&](const ingest::Progress& p) {
    progress.update(static_cast<double>(p.files_done), static_cast<double>(p.files_total));
  };
  const learn::IngestResult r =
      learn::run_ingest(job.corpus, job.generation, job.plan, job.engines.counter(), job.ingest);
  for (const ingest::ReportEntry& e : r.skipped) {
    job.shell.note("skipped: {}", e.message);
  }
  for (const std::string& warning : r.warnings) {
    job.shell.note("note: {}", warning);
  }
  nlohmann::json skipped = nlohmann::json::array();
  for (const ingest::ReportEntry& e : r.skipped) {
    skipped.push_back({{"file", e.path}, {"error", to_string(e.code)}, {"message", e.message}});
  }
  job.result["ingest"] = {
      {"read", r.read},          {"unchanged", r.unchanged}, {"gone", r.gone},
      {"pruned", r.pruned},      {"passages", r.passages},   {"text_bytes", r.text_bytes},
      {"tokens", r.base_tokens}, {"skipped", skipped},       {"warnings", r.warnings}};
  job.shell.note("ingest: {} files read, {} unchanged, {} skipped; {} passages, {} tokens", r.read,
                 r.unchanged, r.skipped.size(), r.passages, r.base_tokens);
  if (r.gone > 0) {
    job.shell.note("{} documents have no file any more and stay; --prune takes them out", r.gone);
  }
  if (r.pruned > 0) {
    job.shell.note("{} documents without a file were taken out", r.pruned);
  }
}

void run_index_stage(LearnJob& job) {
  Progress progress(job.shell, "index", "passages");
  retrieve::IndexOptions options;
  options.stop = job.shell.stop();
  options.on_progress = [&](const retrieve::IndexProgress& p) {
    progress.update(static_cast<double>(p.passages_done), static_cast<double>(p.passages_total));
  };
  const retrieve::IndexResult r =
      retrieve::index_passages(job.corpus, job.generation, job.engines.encoder(),
                               job.engines.encoder_fingerprint(), options);
  job.result["index"] = {{"documents", r.documents}, {"passages", r.passages}};
}

uint64_t bytes_in_bf16(const model::Llama& llama) {
  const model::ModelConfig& c = llama.config();
  return static_cast<uint64_t>(
      2 * c.layers * (2 * c.hidden * (c.q_width() + c.kv_width()) + 3 * c.hidden * c.ffn));
}

Forecast forecast_compress(const Workload& w) {
  if (w.compress_tokens_per_second <= 0) {
    return {};
  }
  const OpenCompressor& open = *w.job->compressor.open;
  learn::CompressOptions stage = w.job->compression.stage;
  stage.ratio = open.ratio;
  stage.precision = static_cast<store::KvPrecision>(w.job->compression.kv_bits);
  const auto tokens = static_cast<int64_t>(w.compress_tokens);
  const uint64_t all =
      learn::stored_bytes(*open.compressor, open.base.llama.config(), tokens, stage);
  const uint64_t bytes = std::min(all, stage.max_bytes);
  const double made = static_cast<double>(bytes) / static_cast<double>(std::max<uint64_t>(1, all));
  // A trained method holds the base once more, merged in 16 bits.
  const uint64_t writer = open.describe().needs_training ? bytes_in_bf16(open.base.llama) : 0;
  // Of documents with ratios of their own this is the most: those that stay raw take nothing.
  return {.seconds = (made * w.compress_tokens + w.choice_tokens) / w.compress_tokens_per_second,
          .disk_bytes = bytes,
          .memory_bytes = w.model_bytes + writer + (uint64_t{96} << 20)};
}

// What was measured before holds for versions that did not change, compressed as before.
void carry_fidelity(LearnJob& job) {
  const OpenCompressor& open = *job.compressor.open;
  const auto active = job.corpus.generations().active();
  if (open.describe().is_query_aware || !active || active->number == job.generation) {
    return;
  }
  const nlohmann::json was = active->settings.value("compress", nlohmann::json());
  const nlohmann::json now = open.settings();
  const auto is_same = [&](const char* field) {
    return was.value(field, nlohmann::json()) == now.value(field, nlohmann::json());
  };
  if (was.is_object() && is_same("method") && is_same("weights") && is_same("ratio") &&
      is_same("tolerance")) {
    learn::carry_fidelity(job.corpus, active->number, job.generation, now["method"]);
  }
}

// A ratio for each document, or none.
void choose_ratios(LearnJob& job) {
  const OpenCompressor& open = *job.compressor.open;
  Progress progress(job.shell, "ratio", "documents");
  learn::RatioOptions options{.ratios = learn::trained_ratios(*open.compressor),
                              .tolerance = open.tolerance};
  options.stop = job.shell.stop();
  options.on_progress = [&](int64_t done, int64_t total) {
    progress.update(static_cast<double>(done), static_cast<double>(total));
  };
  learn::TextFidelityMeter meter(job.engines.model(), job.engines.decoder(), *open.compressor,
                                 writing_context(job.engines), options.probes);
  const learn::RatioResult r =
      learn::choose_ratios(job.corpus, job.generation, meter, *open.compressor,
                           open.base.fingerprint, job.engines.counter(), options);
  std::vector<std::string> chosen;
  nlohmann::json by_ratio = nlohmann::json::object();
  for (const auto& [ratio, documents] : r.chosen) {
    chosen.push_back(fmt::format("{} at {:g}×", documents, ratio));
    by_ratio[fmt::format("{:g}", ratio)] = documents;
  }
  chosen.push_back(fmt::format("{} raw", r.raw));
  job.result["ratio"] = {{"documents", r.documents},    {"measured", r.measured},
                         {"chosen", by_ratio},          {"raw", r.raw},
                         {"tolerance", open.tolerance}, {"without_probes", r.without_probes}};
  job.shell.note("ratio: of {} documents {}; tolerance {:g} points of F1, {} measured now",
                 r.documents, fmt::join(chosen, ", "), open.tolerance, r.measured);
}

// Two passes' worth of segments for a GPU (compress::most_pass_rows).
constexpr size_t kGpuSegments = 40;

// Beside a GPU: what it writes is quantised and stored by these.
int writing_threads(const Shell& shell) {
  const int all = shell.options.threads > 0
                      ? shell.options.threads
                      : static_cast<int>(std::max(2u, std::thread::hardware_concurrency()));
  return std::clamp(all - 1, 1, 16);
}

void run_compress_stage(LearnJob& job) {
  if (!job.compressor.open) {
    job.shell.note("{}", job.compressor.why_none);
    return;
  }
  const OpenCompressor& open = *job.compressor.open;
  learn::CompressOptions options = job.compression.stage;
  options.ratio = open.ratio;
  if (open.is_auto) {
    choose_ratios(job);
    options.ratio_of = [ratios = ratios_of_documents(job.corpus, job.generation, open)](
                           int64_t document) { return ratios.at(document); };
  }
  Progress progress(job.shell, "compress", "tokens");
  options.precision = static_cast<store::KvPrecision>(job.compression.kv_bits);
  options.stop = job.shell.stop();
  if (job.engines.device().is_gpu()) {
    options.segments_at_once = kGpuSegments;
    options.threads = writing_threads(job.shell);
  }
  options.on_progress = [&](int64_t done, int64_t total) {
    progress.update(static_cast<double>(done), static_cast<double>(total));
  };
  const learn::CompressResult r =
      learn::compress_documents(job.corpus, job.generation, *open.compressor, open.base,
                                job.engines.counter(), writing_context(job.engines), options);
  carry_fidelity(job);
  job.result["compress"] = {{"method", open.describe().id},
                            {"ratio", open.settings()["ratio"]},
                            {"documents", r.documents},
                            {"segments", r.segments},
                            {"made", r.made},
                            {"reused", r.reused},
                            {"left_out", r.left_out},
                            {"tokens_before", r.tokens_before},
                            {"tokens_after", r.tokens_after},
                            {"bytes", r.bytes}};
  if (open.describe().is_query_aware) {
    job.shell.note("compress: {} reads the question, so it works when one is asked",
                   open.describe().id);
    return;
  }
  job.shell.note("compress: {} of {} segments by {}, {} tokens to {}; {} were there, {} on disk",
                 r.made, r.segments, open.describe().id, r.tokens_before, r.tokens_after, r.reused,
                 in_bytes(r.bytes));
  if (r.left_out > 0) {
    job.shell.note("{} segments exceed --context-budget; they are compressed when asked for",
                   r.left_out);
  }
}

constexpr Stage kStages[] = {
    {"ingest", "reads the files of a folder that are new or changed", forecast_ingest,
     run_ingest_stage},
    {"index", "makes the search vectors of passages that have none", forecast_index,
     run_index_stage},
    {"compress", "makes the compressed form of documents that have none", forecast_compress,
     run_compress_stage},
    {"study", "makes questions with answers, or reads the user's", forecast_study_stage,
     run_study_stage},
    {"train", "trains an adapter on the questions", forecast_train_stage, run_train_stage},
    {"assess", "judges the adapter on questions held back", forecast_assess_stage,
     run_assess_stage},
};

double seconds_of(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

// Some English of about a passage's length; what it says does not matter, how many pieces does.
std::string sample_passage() {
  std::string text;
  for (int i = 0; i < 13; ++i) {
    text += fmt::format("Section {} says that members met and agreed on it. ", i);
  }
  return text;
}

// Tokens that have no context of this recipe yet, and how fast they are read.
void add_compression_workload(LearnJob& job, Workload& w) {
  w.job = &job;
  if (!job.compressor.open || job.compressor.open->describe().is_query_aware) {
    return;
  }
  const OpenCompressor& open = *job.compressor.open;
  w.compress_tokens =
      w.base_tokens + (job.generation == 0
                           ? 0
                           : static_cast<double>(job.corpus.contexts().tokens_without(
                                 job.generation, open.recipe())));
  const auto documents =
      static_cast<double>(job.plan.changes.added.size() + job.plan.changes.changed.size() +
                          job.plan.changes.unchanged.size());
  if (open.is_auto && documents > 0) {
    w.choice_tokens = documents * learn::tokens_of_choice(w.compress_tokens / documents,
                                                          {.ratios = {open.ratio}});
  }
  if (w.compress_tokens > 0) {
    w.compress_tokens_per_second = learn::measure_compression(
        *open.compressor, job.engines.counter(), writing_context(job.engines), open.ratio);
  }
}

}  // namespace

std::span<const Stage> stages() {
  return kStages;
}

Workload measure_workload(LearnJob& job) {
  Workload w{.source_bytes = job.plan.bytes_to_read()};
  w.text_bytes = static_cast<double>(w.source_bytes);
  w.base_tokens = w.text_bytes / kBytesPerToken;
  w.passages = w.base_tokens / (job.ingest.passages.size_tokens * kPassageFill);
  for (const int64_t number :
       job.generation == 0
           ? std::vector<int64_t>{}
           : job.corpus.vectors().missing(job.generation, job.engines.encoder_fingerprint())) {
    w.passages += static_cast<double>(job.corpus.documents().passages(number).size());
  }
  const std::string sample = sample_passage();
  const std::vector<std::string_view> some(8, sample);
  job.engines.encoder().encode(std::span(some).first(1));  // first use reads the weights in
  w.encode_seconds_per_passage =
      seconds_of([&] { job.engines.encoder().encode(some); }) / static_cast<double>(some.size());
  const double cut = seconds_of([&] {
    for (int i = 0; i < 20; ++i) {
      job.engines.counter().base_tokens(sample);
      job.engines.counter().encoder_tokens(sample);
    }
  });
  // Cutting reads the text about 2.3 times with each tokeniser; the rest is as much again.
  w.read_bytes_per_second = 20.0 * static_cast<double>(sample.size()) / (cut * 2.3 * 2);
  add_compression_workload(job, w);
  add_training_workload(job, w);
  // Measuring has read the models in and made caches and arenas; all of it stays to the end.
  w.model_bytes = resident_memory().value_or(uint64_t{1} << 30);
  return w;
}

}  // namespace offbook::app
