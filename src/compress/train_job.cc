#include "src/compress/train_job.h"

#include <algorithm>

#include "src/compress/autocompressor/training.h"
#include "src/compress/beacon/training.h"
#include "src/compress/beacon/weights.h"
#include "src/compress/data/shards.h"
#include "src/compress/packed_factors.h"
#include "src/compress/passes.h"
#include "src/model/pass_plan.h"

namespace offbook::compress {
namespace {

using OnStep = std::function<bool(const train::StepReport&)>;
using Windows = std::vector<TrainingText::Window>;

// Everything a method's run needs.
struct Job {
  const backend::ExecutionContext& ctx;
  FileSystem& fs;
  const BaseModel& base;  // with plain matrices
  const TrainJobOptions& options;
  TrainingText training;
  Windows held_out;
  nlohmann::json recipe;
};

// How much runs at once: a window on a CPU; on a GPU as many as fill it and as memory allows.
struct Pass {
  int32_t at_once = 1;
  model::Checkpointing checkpointing = model::Checkpointing::none;
};

Pass pass_of(const Job& job, int64_t window_rows) {
  const TrainJobOptions& o = job.options;
  if (job.ctx.device() == Device::cpu) {
    return {1, o.saves_memory ? model::Checkpointing::per_layer : model::Checkpointing::none};
  }
  const model::PassPlan plan = model::plan_pass(job.ctx, job.base.llama.config(),
                                                {.least_rows = window_rows,
                                                 .most_rows = window_rows * o.accumulation,
                                                 .saves_memory = o.saves_memory});
  return {static_cast<int32_t>(plan.rows / window_rows), plan.checkpointing};
}

TrainingText read(FileSystem& fs, const std::filesystem::path& shards,
                  const std::vector<std::filesystem::path>& paths, const BaseModel& base,
                  const ReadTextOptions& options) {
  if (!shards.empty()) {
    return text_of(load_shards(fs, shards, base.fingerprint));
  }
  TrainingText text;
  for (const std::filesystem::path& path : paths) {
    read_training_text(fs, path, base.tokenizer, options, text);
  }
  return text;
}

// What decides the run's bits, the text by its size.
nlohmann::json recipe_of(const TrainJobOptions& o, const BaseModel& base,
                         const TrainingText& training, const Windows& held) {
  return {{"method", o.method},
          {"base", base.fingerprint.model},
          {"steps", o.steps},
          {"lr", o.lr},
          {"accumulation", o.accumulation},
          {"rank", o.rank},
          {"seed", o.seed},
          {"context", o.context},
          {"continuation", o.continuation},
          {"ratios", o.ratios},
          {"summary_tokens", o.summary_tokens},
          {"replaces_vectors", o.replaces_vectors},
          {"recall_spans", o.recall_spans},
          {"recall_token", o.recall_token},
          {"saves_memory", o.saves_memory},
          {"documents", training.documents()},
          {"tokens", training.tokens()},
          {"held_out", held.size()}};
}

train::TrainResult run(Job& job, train::TrainingTask& task, const OnStep& on_step) {
  const TrainJobOptions& o = job.options;
  return train::train(job.ctx, job.fs, task,
                      {.steps = o.steps,
                       .accumulation = o.accumulation,
                       .lr = o.lr,
                       .lr_floor = 0.1f,
                       .seed = o.seed,
                       .checkpoint = o.out.string() + ".state",
                       .recipe = job.recipe.dump()},
                      on_step);
}

RecallOptions recall_of(const TrainJobOptions& o) {
  const int32_t length = std::min(128, o.context / 2);
  return {.spans = o.recall_spans,
          .length = length,
          .cue = std::min(8, length / 4),
          .token = o.recall_token};
}

// The contexts a run of this size sees: one segment, a shorter one, two in turn.
std::vector<std::vector<int32_t>> layouts_of(int32_t context) {
  return {
      {context}, {context * 3 / 4}, {context / 2, context / 2}, {context * 3 / 8, context * 5 / 8}};
}

void train_beacon(Job& job, const OnStep& on_step, TrainJobResult& result) {
  const TrainJobOptions& o = job.options;
  BeaconInit init;
  init.ratios = o.ratios;
  init.seed = o.seed;
  init.lora.rank = o.rank;
  init.lora.alpha = 2 * static_cast<float>(o.rank);
  init.lora.seed = o.seed;
  BeaconWeights weights = on_device(job.ctx, new_beacon(job.ctx, job.base, init));
  const BeaconWeights untrained = on_device(job.ctx, new_beacon(job.ctx, job.base, init));
  const std::vector<std::vector<int32_t>> layouts = layouts_of(o.context);
  const Pass pass = pass_of(job, o.context + o.context / o.ratios.front() + o.continuation +
                                     o.recall_spans * recall_of(o).length);
  BeaconTask task(job.ctx, job.base.llama, weights, job.training, {},
                  {.layouts = layouts,
                   .ratio_shares = std::vector<double>(o.ratios.size(), 1),
                   .continuation = o.continuation,
                   .recall = recall_of(o),
                   .at_once = pass.at_once,
                   .checkpointing = pass.checkpointing,
                   .activations = job.ctx.activations()});
  result.training = run(job, task, on_step);
  if (result.training.end == train::TrainEnd::cancelled) {
    return;
  }
  put_beacon(on_host(job.ctx, weights), result.weights);
  result.weights = with_packed_factors(result.weights, o.stored_bits);
  result.weights.tokens_seen = static_cast<int64_t>(
      task.tokens_per_micro_batch() * static_cast<double>(result.training.steps * o.accumulation));
  BeaconMeasureOptions measure{
      .context = o.context, .continuation = o.continuation, .recall = recall_of(o)};
  measure.recall.spans = std::min(1, o.recall_spans);
  const BeaconWeights written = on_device(
      job.ctx, take_beacon(result.weights, job.base.llama.config()));  // rounded as in the file
  result.untrained = measure_beacon(job.ctx, job.base.llama, untrained, job.held_out, measure);
  result.trained = measure_beacon(job.ctx, job.base.llama, written, job.held_out, measure);
}

void train_autocompressor(Job& job, const OnStep& on_step, TrainJobResult& result) {
  const TrainJobOptions& o = job.options;
  const AutoInit init{.lora = {.rank = o.rank,
                               .alpha = 2 * static_cast<float>(o.rank),
                               .targets = model::kEveryMatrix,
                               .seed = o.seed},
                      .summary_tokens = o.summary_tokens,
                      .carry = o.replaces_vectors ? Carry::replace : Carry::accumulate};
  AutoWeights weights = on_device(job.ctx, new_autocompressor(job.ctx, job.base, init));
  const AutoWeights untrained = on_device(job.ctx, new_autocompressor(job.ctx, job.base, init));
  constexpr int32_t kSegments = 4;
  const Pass pass = pass_of(job, kSegments * o.context);
  AutoTask task(job.ctx, job.base.llama, weights, job.training, {},
                {.sequence = kSegments * o.context,
                 .longest_segment = 2 * o.context,
                 .at_once = pass.at_once,
                 .checkpointing = pass.checkpointing,
                 .activations = job.ctx.activations()});
  result.training = run(job, task, on_step);
  if (result.training.end == train::TrainEnd::cancelled) {
    return;
  }
  put_autocompressor(on_host(job.ctx, weights), result.weights);
  result.weights = with_packed_factors(result.weights, o.stored_bits);
  result.weights.tokens_seen = result.training.steps * o.accumulation * kSegments * o.context;
  const AutoMeasureOptions measure{
      .ratio = o.summary_ratio, .context = o.context, .continuation = o.continuation};
  const AutoWeights written =
      on_device(job.ctx, take_autocompressor(result.weights, job.base.llama.config()));
  result.untrained = {
      measure_autocompressor(job.ctx, job.base.llama, untrained, job.held_out, measure)};
  result.trained = {
      measure_autocompressor(job.ctx, job.base.llama, written, job.held_out, measure)};
}

void check(const TrainJobOptions& o) {
  OB_REQUIRE(o.method == "beacon" || o.method == "autocompressor", InvalidArgument,
             "methods that are trained: beacon, autocompressor; not {}", printable(o.method));
  OB_REQUIRE(!(o.shards.empty() ? o.text.empty() : !o.text.empty()) &&
                 !(o.held_out_shards.empty() ? o.held_out.empty() : !o.held_out.empty()),
             InvalidArgument, "training needs text and held-out text, or shards of both");
  OB_REQUIRE(!o.out.empty(), InvalidArgument, "training needs a file for the weights");
  OB_REQUIRE(o.context >= 16 && o.continuation >= 2 && o.held_out_windows >= 2, InvalidArgument,
             "windows of {} + {} tokens, {} held out; at least 16 + 2, and 2", o.context,
             o.continuation, o.held_out_windows);
}

}  // namespace

TrainJobResult train_compressor(const backend::ExecutionContext& ctx, FileSystem& fs,
                                const BaseModel& base, const TrainJobOptions& options,
                                const OnStep& on_step) {
  check(options);
  const model::Llama plain(ctx, base.llama.config(),
                           dequantised(ctx, base.llama.weights(), merged_type(ctx)));
  const BaseModel plain_base{plain, base.tokenizer, base.fingerprint};
  Job job{.ctx = ctx, .fs = fs, .base = plain_base, .options = options};
  job.training =
      read(fs, options.shards, options.text, base,
           {.share = options.text_share, .max_tokens = options.max_tokens, .seed = options.seed});
  const TrainingText held_out = read(fs, options.held_out_shards, options.held_out, base, {});
  job.held_out =
      held_out.held_out(options.held_out_windows, options.context + options.continuation);
  OB_REQUIRE(job.held_out.size() >= 2, InvalidArgument,
             "held-out text has {} windows of {} tokens, at least 2 are needed",
             job.held_out.size(), options.context + options.continuation);
  other_documents(job.held_out);  // refuses a single document before hours of training
  job.recipe = recipe_of(options, base, job.training, job.held_out);

  TrainJobResult result{.weights = {.base = base.fingerprint, .recipe = recipe_hash(job.recipe)}};
  options.method == "beacon" ? train_beacon(job, on_step, result)
                             : train_autocompressor(job, on_step, result);
  if (result.training.end == train::TrainEnd::cancelled) {
    return result;
  }
  result.weights.held_out = to_json(result.trained);
  save_weights(fs, options.out, result.weights);
  result.bytes = fs.stat(options.out)->size_bytes;
  fs.remove(options.out.string() + ".state");
  return result;
}

}  // namespace offbook::compress
