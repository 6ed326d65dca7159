// train-compressor
#include "apps/offbook/commands.h"
#include "apps/offbook/engines.h"
#include "apps/offbook/mixed_training.h"

#include <memory>

#include "src/compress/train_job.h"

namespace offbook::app {
namespace {

using compress::MemoryFigures;
using compress::TrainJobOptions;
using compress::TrainJobResult;
using nlohmann::json;

void say_figures(const Shell& shell, const TrainJobResult& result) {
  for (size_t i = 0; i < result.trained.size(); ++i) {
    const MemoryFigures& before = result.untrained[i];
    const MemoryFigures& after = result.trained[i];
    shell.say(
        "{:3}x, {} windows: share of the document {:.3f} (untrained {:.3f}), losses with its "
        "memory {:.3f}, another's "
        "{:.3f}, none {:.3f}, the text {:.3f}",
        after.ratio, after.windows, after.continuation.document_share(),
        before.continuation.document_share(), after.continuation.right.mean(),
        after.continuation.other.mean(), after.continuation.none.mean(),
        after.continuation.raw.mean());
    if (after.has_recall) {
      shell.say("     recall: share {:.3f} (untrained {:.3f}), loss {:.3f}, another's {:.3f}",
                after.recall.document_share(), before.recall.document_share(),
                after.recall.right.mean(), after.recall.other.mean());
    }
  }
}

void run_train_compressor(Shell& shell, const TrainJobOptions& options) {
  Engines engines(shell);
  const model::LanguageModel& model = engines.model();
  const compress::BaseModel base{model.llama(), model.tokenizer(), model.fingerprint()};
  auto progress = std::make_unique<Progress>(shell, "training", "steps");
  const auto began = std::chrono::steady_clock::now();
  const TrainJobResult result = compress::train_compressor(
      engines.device_context(), real_file_system(), base, options,
      [&](const train::StepReport& report) {
        progress->update(static_cast<double>(report.step), static_cast<double>(options.steps));
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
      result.training.steps, options.steps, options.out.string());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  say_figures(shell, result);
  shell.say("{}: {}, {} tokens seen, {}", options.out.string(), in_bytes(result.bytes),
            result.weights.tokens_seen, in_time(seconds));
  shell.say_json({{"file", options.out.string()},
                  {"bytes", result.bytes},
                  {"method", options.method},
                  {"steps", result.training.steps},
                  {"last_loss", result.training.last_loss},
                  {"diverged", result.training.end == train::TrainEnd::diverged},
                  {"tokens_seen", result.weights.tokens_seen},
                  {"seconds", seconds},
                  {"untrained", compress::to_json(result.untrained)},
                  {"trained", compress::to_json(result.trained)}});
}

void add_options(CLI::App& command, TrainJobOptions& o) {
  command.add_option("method", o.method, "beacon, autocompressor, or on shards also icae")
      ->required();
  command.add_option("--text", o.text, "training text: .txt, .jsonl or .jsonl.zst files");
  command.add_option("--held-out", o.held_out, "text of other documents, to measure on");
  command.add_option("--out", o.out, "weights file to write")->required();
  command.add_option("--text-share", o.text_share, "share of the training documents that is read")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--max-tokens", o.max_tokens, "tokens of training text read at most")
      ->capture_default_str();
  command.add_option("--steps", o.steps, "0, on shards: measure what --from names")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--accumulation", o.accumulation, "windows a step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--lr", o.lr, "highest learning rate")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--rank", o.rank, "rank of the writer's adapter")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--seed", o.seed)->capture_default_str();
  command.add_option("--context", o.context, "tokens compressed in a training window")
      ->capture_default_str();
  command.add_option("--continuation", o.continuation, "tokens continued behind it")
      ->capture_default_str();
  command.add_option("--ratios", o.ratios, "beacon: tokens a slot, rising")
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("--recall-spans", o.recall_spans, "beacon: spans recalled a window")
      ->capture_default_str();
  command
      .add_option("--recall-token", o.recall_token,
                  "beacon: id of the token that announces a recalled span")
      ->capture_default_str();
  command.add_option("--summary-tokens", o.summary_tokens, "autocompressor: vectors a segment")
      ->capture_default_str();
  command
      .add_option("--summary-ratio", o.summary_ratio,
                  "autocompressor: tokens a vector, when measured")
      ->capture_default_str();
  command.add_flag("--replace-vectors", o.replaces_vectors,
                   "autocompressor: a segment hands on its own vectors alone (RMT)");
  command.add_option("--held-out-windows", o.held_out_windows, "windows measured before and after")
      ->capture_default_str();
  command.add_flag("--save-memory", o.saves_memory,
                   "keep one layer's activations at a time: slower by a third");
}

// What both forms of the command name.
MixedTraining with_shared(MixedTraining mixed, const TrainJobOptions& o) {
  OB_REQUIRE(o.method == "beacon" || o.method == "icae", InvalidArgument,
             "--shards trains beacon, autocompressor or icae, not {}", printable(o.method));
  mixed.job.out = o.out;
  mixed.job.steps = o.steps;
  mixed.job.accumulation = o.accumulation;
  mixed.job.lr = o.lr;
  mixed.job.rank = o.rank;
  mixed.job.seed = o.seed;
  mixed.job.saves_memory = o.saves_memory;
  mixed.job.held_out_windows = o.held_out_windows;
  mixed.job.figures.context = o.context;
  mixed.job.figures.continuation = o.continuation;
  return mixed;
}

// The other way about, for the method whose training reads plain text.
TrainJobOptions on_shards(TrainJobOptions o, const MixedTraining& mixed) {
  o.shards = mixed.job.shards;
  o.held_out_shards = mixed.job.held_out;
  o.stored_bits = mixed.job.stored_bits;
  return o;
}

}  // namespace

void add_train_compressor(CLI::App& app, Shell& shell) {
  const auto options = std::make_shared<TrainJobOptions>();
  const auto mixed = std::make_shared<MixedTraining>();
  CLI::App* command = add_command(app, shell, "train-compressor",
                                  "Train the weights of a compression method for the model.",
                                  "  offbook train-compressor beacon --text books.jsonl.zst "
                                  "--held-out other.jsonl.zst --out beacon.safetensors\n"
                                  "  offbook train-compressor autocompressor --steps 300 --text "
                                  "a.txt b.txt --held-out c.jsonl --out auto.safetensors\n"
                                  "  offbook train-compressor beacon --shards shards "
                                  "--held-out-shards held_out --out beacon.safetensors",
                                  [&shell, options, mixed] {
                                    if (mixed->job.shards.empty()) {
                                      run_train_compressor(shell, *options);
                                    } else if (options->method == "autocompressor") {
                                      run_train_compressor(shell, on_shards(*options, *mixed));
                                    } else if (options->method == "icae") {
                                      run_icae_training(shell, with_shared(*mixed, *options));
                                    } else {
                                      run_mixed_training(shell, with_shared(*mixed, *options));
                                    }
                                  });
  add_options(*command, *options);
  add_mixed_options(*command, *mixed);
}

}  // namespace offbook::app
