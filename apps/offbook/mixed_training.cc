#include "apps/offbook/mixed_training.h"

#include "apps/offbook/engines.h"

#include <chrono>
#include <fstream>
#include <memory>

#include "src/base/json_fields.h"

namespace offbook::app {
namespace {

using compress::MixedJobResult;
using compress::MixedStep;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kMaxMixBytes = 1 << 20;

json sums(const std::array<train::LossSum, compress::kTaskKinds>& kinds) {
  json out = json::object();
  for (int k = 0; k < compress::kTaskKinds; ++k) {
    const train::LossSum& sum = kinds[static_cast<size_t>(k)];
    if (sum.count > 0) {
      out[std::string(to_string(static_cast<compress::TaskKind>(k)))] = {{"loss", sum.mean()},
                                                                         {"targets", sum.count}};
    }
  }
  return out;
}

// Gathers steps into reports.
class Curve {
 public:
  Curve(const std::filesystem::path& path, int64_t every) : every_(every) {
    if (!path.empty()) {
      out_.open(path, std::ios::app);
      OB_REQUIRE(out_.is_open(), Io, "{}: cannot be written", path.string());
    }
  }

  void add(const MixedStep& s) {
    for (int k = 0; k < compress::kTaskKinds; ++k) {
      const auto i = static_cast<size_t>(k);
      kinds_[i].sum += s.log.kinds[i].sum;
      kinds_[i].count += s.log.kinds[i].count;
    }
    rows_ += s.log.written + s.log.read;
    written_ += s.log.written;
    if (out_.is_open() && (s.step.step % every_ == 0 || s.held_out != nullptr)) {
      write(s);
    }
  }

  int64_t rows() const { return rows_; }

 private:
  void write(const MixedStep& s) {
    json line{{"step", s.step.step},
              {"seconds", std::chrono::duration<double>(Clock::now() - began_).count()},
              {"rows", rows_},
              {"written", written_},
              {"loss", s.step.loss},
              {"gradient_norm", s.step.gradient_norm},
              {"lr", s.step.lr},
              {"tasks", sums(kinds_)}};
    if (s.held_out != nullptr) {
      line["held_out"] = {{"loss", *s.step.held_out}, {"tasks", sums(*s.held_out)}};
    }
    out_ << line.dump() << '\n' << std::flush;
    kinds_ = {};
  }

  int64_t every_;
  std::ofstream out_;
  std::array<train::LossSum, compress::kTaskKinds> kinds_;
  int64_t rows_ = 0, written_ = 0;
  Clock::time_point began_ = Clock::now();
};

void say_figures(const Shell& shell, const MixedJobResult& result) {
  for (const compress::ReadingFigures& f : result.reading) {
    shell.say(
        "{:3}x, {} windows: share of the document {:.3f}, recall {:.3f}, behind raw text {:.3f}, "
        "behind other slots {:.3f}; losses none {:.3f}, another's memory {:.3f}, its own {:.3f}, "
        "the text {:.3f}",
        f.ratio, f.windows, f.continuation.document_share(), f.recall.document_share(),
        f.recall_behind_raw.document_share(), f.recall_behind_slots.document_share(),
        f.continuation.none.mean(), f.continuation.other.mean(), f.continuation.right.mean(),
        f.continuation.raw.mean());
  }
  for (const compress::QuestionFigures& q : result.questions) {
    shell.say(
        "questions behind {:24} F1 {:5.1f}, loss {:.3f}, {:.0f} tokens kept; {} of {} documents",
        q.memory + ":", q.f1, q.loss, q.kept_tokens, q.questions, q.documents);
  }
}

}  // namespace

void add_mixed_options(CLI::App& command, MixedTraining& o) {
  const std::string group = "On shards";
  const auto add = [&](const char* name, auto& to, const char* help) {
    return command.add_option(name, to, help)->capture_default_str()->group(group);
  };
  add("--shards", o.job.shards, "training data of `offbook data build`, in place of --text");
  add("--held-out-shards", o.job.held_out, "of other documents, in place of --held-out");
  add("--mix", o.mix, "beacon: JSON file that mixes the tasks (docs/formats/training_data.md)");
  add("--from", o.job.from, "beacon: weights to start from");
  add("--reader-rank", o.job.reader_rank,
      "beacon: rank of an adapter of who reads slots; 0: the base reads");
  add("--bits", o.job.stored_bits, "bits a value of the adapters in the file")
      ->check(CLI::IsMember({16, 8, 4}));
  add("--evaluate-every", o.job.evaluate_every, "steps between held-out losses; 0: at the end");
  add("--curve", o.curve, "file that gets losses by task, JSON Lines");
  add("--report-every", o.report_every, "steps a line of the curve")->check(CLI::PositiveNumber);
  add("--figure-windows", o.job.figures.windows_at_once, "windows measured in one pass");
  add("--memory-tokens", o.icae.memory_tokens, "icae: slots a span");
  add("--icae-ratio", o.icae.ratio, "icae: tokens a slot");
  add("--autoencode-share", o.icae.autoencode_share, "icae: of windows, the rest is continued");
  add("--instruct-share", o.icae.instruct_share,
      "icae: of windows, questions in place of continuing");
  add("--question-documents", o.job.questions.documents, "held-out documents that are asked about");
  add("--questions", o.job.questions.questions, "questions a document");
}

void run_mixed_training(Shell& shell, MixedTraining o) {
  FileSystem& fs = real_file_system();
  OB_REQUIRE(!o.job.held_out.empty(), InvalidArgument, "--shards needs --held-out-shards");
  if (!o.mix.empty()) {
    o.job.mix = parse_json(fs.open(o.mix)->bytes(), o.mix.string(), kMaxMixBytes);
  }
  Engines engines(shell);
  const model::LanguageModel& model = engines.model();
  const compress::BaseModel base{model.llama(), model.tokenizer(), model.fingerprint()};
  auto progress = std::make_unique<Progress>(shell, "training", "steps");
  Curve curve(o.curve, o.report_every);
  const auto began = Clock::now();
  std::optional<Clock::time_point> first_step;
  double training_seconds = 0;
  int64_t rows_after_first = 0;
  const MixedJobResult result = compress::train_mixed_beacon(
      engines.device_context(), fs, base, o.job, [&](const MixedStep& s) {
        curve.add(s);
        if (first_step) {  // the first step of a run warms up
          training_seconds = std::chrono::duration<double>(Clock::now() - *first_step).count();
          rows_after_first += s.log.written + s.log.read;
        } else {
          first_step = Clock::now();
        }
        progress->update(static_cast<double>(s.step.step), static_cast<double>(o.job.steps));
        shell.log({{"event", "train_compressor"},
                   {"step", s.step.step},
                   {"loss", s.step.loss},
                   {"lr", s.step.lr}});
        return !shell.stop().stop_requested();
      });
  progress.reset();
  OB_REQUIRE(
      result.training.end != train::TrainEnd::cancelled, Cancelled,
      "stopped after {} of {} steps; {}.state holds the rest, the same command goes on from there",
      result.training.steps, o.job.steps, o.job.out.string());
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  const double speed =
      training_seconds > 0 ? static_cast<double>(rows_after_first) / training_seconds : 0;
  say_figures(shell, result);
  shell.say("{}: {}, {} rows of the model, {:.0f} a second in training; {}", o.job.out.string(),
            in_bytes(result.bytes), result.rows, speed, in_time(seconds));
  shell.say_json({{"file", o.job.out.string()},
                  {"bytes", result.bytes},
                  {"steps", result.training.steps},
                  {"last_loss", result.training.last_loss},
                  {"best_held_out", result.training.best_held_out.value_or(0)},
                  {"diverged", result.training.end == train::TrainEnd::diverged},
                  {"rows", result.rows},
                  {"training_seconds", training_seconds},
                  {"rows_a_second", speed},
                  {"seconds", seconds},
                  {"reading", compress::to_json(result.reading)},
                  {"questions", compress::to_json(result.questions)}});
}

void run_icae_training(Shell& shell, MixedTraining o) {
  OB_REQUIRE(!o.job.held_out.empty(), InvalidArgument, "--shards needs --held-out-shards");
  compress::IcaeJobOptions& job = o.icae;
  job.shards = o.job.shards;
  job.held_out = o.job.held_out;
  job.out = o.job.out;
  job.steps = o.job.steps;
  job.accumulation = o.job.accumulation;
  job.lr = o.job.lr;
  job.rank = o.job.rank;
  job.seed = o.job.seed;
  job.saves_memory = o.job.saves_memory;
  job.stored_bits = o.job.stored_bits;
  job.held_out_windows = o.job.held_out_windows;
  Engines engines(shell);
  const model::LanguageModel& model = engines.model();
  const compress::BaseModel base{model.llama(), model.tokenizer(), model.fingerprint(),
                                 model.chat_format()};
  auto progress = std::make_unique<Progress>(shell, "training", "steps");
  const auto began = Clock::now();
  const compress::IcaeJobResult result = compress::train_icae(
      engines.device_context(), real_file_system(), base, job,
      [&](const train::StepReport& report) {
        progress->update(static_cast<double>(report.step), static_cast<double>(job.steps));
        shell.log({{"event", "train_compressor"},
                   {"step", report.step},
                   {"loss", report.loss},
                   {"lr", report.lr}});
        return !shell.stop().stop_requested();
      });
  progress.reset();
  OB_REQUIRE(
      result.training.end != train::TrainEnd::cancelled, Cancelled,
      "stopped after {} of {} steps; {}.state holds the rest, the same command goes on from there",
      result.training.steps, job.steps, job.out.string());
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  const compress::MemoryLosses& c = result.figures.memory.continuation;
  shell.say(
      "{}x, {} windows: share of the document {:.3f}, losses with its slots {:.3f}, another's "
      "{:.3f}, none {:.3f}, the text {:.3f}",
      job.ratio, result.figures.memory.windows, c.document_share(), c.right.mean(), c.other.mean(),
      c.none.mean(), c.raw.mean());
  shell.say("the text again: loss {:.3f} behind its slots, {:.3f} behind another's",
            result.figures.autoencode, result.figures.autoencode_other);
  shell.say("{}: {}, {} rows of the model; {}", job.out.string(), in_bytes(result.bytes),
            result.rows, in_time(seconds));
  shell.say_json({{"file", job.out.string()},
                  {"bytes", result.bytes},
                  {"steps", result.training.steps},
                  {"last_loss", result.training.last_loss},
                  {"rows", result.rows},
                  {"seconds", seconds},
                  {"figures", compress::to_json(result.figures)}});
}

}  // namespace offbook::app
