#include "src/learn/ingest_stage.h"

#include <algorithm>
#include <set>

#include "src/base/error.h"
#include "src/ingest/content_hash.h"
#include "src/store/check.h"

namespace offbook::learn {
namespace {

constexpr const char* kCutSetting = "ingest.cut";

std::string cut_name(const IngestOptions& options) {
  return fmt::format("{}/{}/{}/{}", options.passages.size_tokens, options.passages.overlap_tokens,
                     options.passages.encoder_window, options.tokenizers);
}

std::vector<ingest::KnownFile> known_files(store::Corpus& corpus, int64_t generation) {
  std::vector<ingest::KnownFile> known;
  if (generation != 0) {
    for (const store::StoredDocument& d : corpus.documents().list(generation)) {
      known.push_back({d.document.path, d.document.source_bytes, d.document.modified_ns,
                       d.document.content_hash});
    }
  }
  return known;
}

std::string unit_of(const std::string& path) {
  return ingest::hash_text(path);
}

// All that the outcome of a file depends on.
std::string input_of(const ingest::FoundFile& f, const IngestOptions& options) {
  const ingest::ReadOptions& read = options.reading.read;
  return fmt::format("{}/{}/{}/{}/{}", f.size_bytes, f.modified_ns, cut_name(options),
                     read.limits.max_file_bytes, fmt::join(read.jsonl_text_fields, ","));
}

// Read before with the same bytes and options, and refused; what the system refused is tried again.
bool is_refused(store::Corpus& corpus, const ingest::FoundFile& f, const IngestOptions& options) {
  const auto job = corpus.jobs().find(store::kStageIngest, unit_of(f.path));
  return job && job->state == store::JobState::failed && job->input == input_of(f, options) &&
         job->detail != to_string(ErrorCode::Io);
}

// Stores the outcomes of a run in order.
class Ingester {
 public:
  Ingester(store::Corpus& corpus, int64_t generation, const ingest::TokenCounter& counter,
           const IngestOptions& options)
      : corpus_(corpus), generation_(generation), counter_(counter), options_(options) {}

  IngestResult run(const IngestPlan& plan) {
    result_.skipped = plan.listing.skipped;
    result_.unchanged = static_cast<int64_t>(plan.changes.unchanged.size());
    std::vector<ingest::FoundFile> files = plan.changes.added;
    files.insert(files.end(), plan.changes.changed.begin(), plan.changes.changed.end());
    std::sort(files.begin(), files.end(),
              [](const auto& a, const auto& b) { return a.path < b.path; });
    plan_jobs(plan, files);
    store::Batch batch(corpus_, {});
    ingest::ReadFilesOptions reading = options_.reading;
    reading.cut = [this](const Document& document) {
      return ingest::cut_passages(document, options_.passages, counter_);
    };
    ingest::read_files(plan.root, files, reading,
                       [&](const ingest::FoundFile& file, ingest::FileOutcome outcome) {
                         take(file, std::move(outcome));
                         batch.unit_done();
                       });
    drop_missing(plan);
    batch.commit();
    return result_;
  }

 private:
  void plan_jobs(const IngestPlan& plan, const std::vector<ingest::FoundFile>& to_read) {
    std::vector<store::WorkUnit> units;
    for (const auto* files : {&plan.changes.unchanged, &to_read, &plan.refused}) {
      for (const ingest::FoundFile& f : *files) {
        units.push_back({unit_of(f.path), input_of(f, options_)});
      }
    }
    std::vector<std::string> reasons;
    for (const ingest::FoundFile& f : plan.refused) {
      reasons.push_back(corpus_.jobs().find(store::kStageIngest, unit_of(f.path))->detail);
    }
    store::Batch batch(corpus_, {});
    corpus_.jobs().plan(store::kStageIngest, units);
    for (const ingest::FoundFile& f : plan.changes.unchanged) {
      corpus_.jobs().complete(store::kStageIngest, unit_of(f.path));
    }
    for (const ingest::FoundFile& f : to_read) {
      corpus_.jobs().reset(store::kStageIngest, unit_of(f.path));
    }
    for (size_t i = 0; i < reasons.size(); ++i) {  // planning made them pending
      const std::string& path = plan.refused[i].path;
      corpus_.jobs().fail(store::kStageIngest, unit_of(path), reasons[i]);
      result_.skipped.push_back(
          {path, ErrorCode::Unsupported, path + ": could not be read before and has not changed"});
    }
    batch.commit();
  }

  void take(const ingest::FoundFile& file, ingest::FileOutcome outcome) {
    if (auto* failed = std::get_if<ingest::ReportEntry>(&outcome)) {
      skip(file, failed->code, failed->message);
      return;
    }
    auto& [document, warnings, passages] = std::get<ingest::ReadResult>(outcome);
    for (const std::string& warning : warnings) {
      result_.warnings.push_back(file.path + ": " + warning);
    }
    try {
      put(file, document, passages);
    } catch (const Error& e) {
      if (e.code() == ErrorCode::Io || e.code() == ErrorCode::Cancelled) {
        throw;  // of the corpus, not of the file
      }
      skip(file, e.code(), e.what());
    }
  }

  void put(const ingest::FoundFile& file, const Document& document,
           std::vector<Passage>& passages) {
    OB_REQUIRE(!passages.empty(), InvalidArgument, "{}: the document has no text", file.path);
    corpus_.documents().put(generation_, document, passages);
    corpus_.jobs().complete(store::kStageIngest, unit_of(file.path));
    ++result_.read;
    result_.passages += static_cast<int64_t>(passages.size());
    result_.text_bytes += document.text.size();
    for (const Passage& p : passages) {
      result_.base_tokens += p.base_tokens;
    }
  }

  void skip(const ingest::FoundFile& file, ErrorCode code, const std::string& message) {
    result_.skipped.push_back({file.path, code, message});
    corpus_.jobs().fail(store::kStageIngest, unit_of(file.path),
                        std::string(to_string(code)));  // no text of the document
  }

  void drop_missing(const IngestPlan& plan) {
    for (const ingest::KnownFile& gone : plan.changes.removed) {
      if (!options_.prune) {
        ++result_.gone;
      } else if (corpus_.documents().exclude(generation_, unit_of(gone.path))) {
        ++result_.pruned;
      }
    }
  }

  store::Corpus& corpus_;
  int64_t generation_;
  const ingest::TokenCounter& counter_;
  const IngestOptions& options_;
  IngestResult result_;
};

}  // namespace

uint64_t IngestPlan::bytes_to_read() const {
  uint64_t bytes = 0;
  for (const auto* files : {&changes.added, &changes.changed}) {
    for (const ingest::FoundFile& f : *files) {
      bytes += f.size_bytes <= max_file_bytes ? f.size_bytes : 0;  // larger ones are refused
    }
  }
  return bytes;
}

IngestPlan plan_ingest(store::Corpus& corpus, int64_t generation, const std::filesystem::path& root,
                       const IngestOptions& options) {
  IngestPlan plan{.root = root,
                  .listing = ingest::list_folder(root, options.folder),
                  .max_file_bytes = options.reading.read.limits.max_file_bytes};
  OB_REQUIRE(!plan.listing.files.empty(), InvalidArgument,
             "{} holds no file that can be read (txt, md, html, pdf, docx, epub, csv, jsonl){}",
             root.string(),
             plan.listing.skipped.empty()
                 ? ""
                 : fmt::format("; {} were passed over, the first because: {}",
                               plan.listing.skipped.size(), plan.listing.skipped.front().message));
  plan.changes = ingest::compare_folder(root, plan.listing.files, known_files(corpus, generation),
                                        options.reading.stop);
  for (auto* files : {&plan.changes.added, &plan.changes.changed}) {
    std::erase_if(*files, [&](const ingest::FoundFile& f) {
      const bool is_known_bad = generation != 0 && is_refused(corpus, f, options);
      if (is_known_bad) {
        plan.refused.push_back(f);
      }
      return is_known_bad;
    });
  }
  plan.cuts_changed = corpus.setting(kCutSetting).value_or(cut_name(options)) != cut_name(options);
  if (plan.cuts_changed) {
    auto& changed = plan.changes.changed;
    changed.insert(changed.end(), plan.changes.unchanged.begin(), plan.changes.unchanged.end());
    plan.changes.unchanged.clear();
  }
  return plan;
}

IngestResult run_ingest(store::Corpus& corpus, int64_t generation, const IngestPlan& plan,
                        const ingest::TokenCounter& counter, const IngestOptions& options) {
  IngestResult result = Ingester(corpus, generation, counter, options).run(plan);
  corpus.set_setting(kCutSetting, cut_name(options));
  return result;
}

}  // namespace offbook::learn
