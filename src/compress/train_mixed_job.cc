#include "src/compress/train_mixed_job.h"

#include "src/compress/beacon/weights.h"
#include "src/compress/packed_factors.h"
#include "src/compress/passes.h"
#include "src/model/lora_init.h"

namespace offbook::compress {
namespace {

nlohmann::json recipe_of(const MixedJobOptions& o, const BaseModel& base, const TaskMix& mix,
                         const TrainingSet& training, const TrainingSet& held_out) {
  return {{"method", "beacon"},
          {"base", base.fingerprint.model},
          {"data", training.recipe},
          {"held_out", held_out.recipe},
          {"from", o.from.filename().string()},
          {"mix", to_json(mix)},
          {"steps", o.steps},
          {"accumulation", o.accumulation},
          {"lr", o.lr},
          {"rank", o.rank},
          {"reader_rank", o.reader_rank},
          {"seed", o.seed},
          {"evaluate_every", o.evaluate_every},
          {"saves_memory", o.saves_memory}};
}

BeaconWeights first_weights(const backend::ExecutionContext& ctx, FileSystem& fs,
                            const BaseModel& base, const TaskMix& mix, const MixedJobOptions& o) {
  if (!o.from.empty()) {
    const CompressorWeights file = load_weights(fs, o.from, base.fingerprint);
    OB_REQUIRE(file.method == "beacon", InvalidArgument, "{}: weights of the method {}, no beacon",
               o.from.string(), printable(file.method));
    BeaconWeights weights = take_beacon(file, base.llama.config());
    if (o.steps > 0 && o.rank > weights.lora.rank) {
      weights.lora = model::widened(weights.lora, o.rank, o.seed);
    }
    return weights;
  }
  BeaconInit init;
  init.ratios = mix.ratios;
  init.seed = o.seed;
  init.lora.rank = o.rank;
  init.lora.alpha = 2 * static_cast<float>(o.rank);
  init.lora.seed = o.seed;
  init.reader_rank = o.reader_rank;
  return new_beacon(ctx, base, init);
}

void check(const MixedJobOptions& o) {
  OB_REQUIRE(!o.out.empty(), InvalidArgument, "training needs a file for the weights");
  OB_REQUIRE(o.steps > 0 || !o.from.empty(), InvalidArgument,
             "no steps and no weights to start from: nothing to do");
  OB_REQUIRE(o.rank >= 1 && o.rank <= 4096 && o.reader_rank >= 0 && o.reader_rank <= 4096,
             InvalidArgument, "ranks {} of the writer and {} of the reader", o.rank, o.reader_rank);
}

}  // namespace

MixedFigures measure_mixed(const backend::ExecutionContext& ctx, const model::Llama& plain,
                           const text::Tokenizer& tokenizer, const BeaconWeights& weights,
                           const TrainingSet& held_out, const MixedJobOptions& o) {
  const ReadingModel model{.base = plain,
                           .weights = weights,
                           .reader = weights.reader_or_null(),
                           .activations = ctx.activations()};
  MixedFigures out;
  if (o.held_out_windows >= 2) {
    const auto windows =
        text_of(held_out).held_out(o.held_out_windows, o.figures.context + o.figures.continuation);
    OB_REQUIRE(windows.size() >= 2, InvalidArgument,
               "held-out text has {} windows of {} tokens, at least 2 are needed", windows.size(),
               o.figures.context + o.figures.continuation);
    out.reading = measure_reading(ctx, model, windows, o.figures);
  }
  if (o.questions.documents >= 2) {
    QuestionOptions questions = o.questions;
    if (ctx.device() != Device::cpu) {
      questions.documents_at_once = std::max<size_t>(questions.documents_at_once, 10);
    }
    out.questions = measure_questions(ctx, model, tokenizer, held_out, questions);
  }
  return out;
}

MixedJobResult train_mixed_beacon(const backend::ExecutionContext& ctx, FileSystem& fs,
                                  const BaseModel& base, const MixedJobOptions& o,
                                  const std::function<bool(const MixedStep&)>& on_step) {
  check(o);
  const TaskMix mix = read_mix(o.mix, "mix");
  const TrainingSet training = load_shards(fs, o.shards, base.fingerprint);
  const TrainingSet held_out = load_shards(fs, o.held_out, base.fingerprint);
  const model::Llama plain(ctx, base.llama.config(),
                           dequantised(ctx, base.llama.weights(), merged_type(ctx)));
  const BaseModel plain_base{plain, base.tokenizer, base.fingerprint};
  BeaconWeights weights = on_device(ctx, first_weights(ctx, fs, plain_base, mix, o));
  const TaskSampler sampler(training, mix);
  const TaskSampler watched(held_out, mix);
  MixedBeaconTask task(ctx, plain, weights, weights.reader_or_null(), sampler, &watched,
                       {.checkpointing = o.saves_memory ? model::Checkpointing::per_layer
                                                        : model::Checkpointing::none,
                        .activations = ctx.activations()});
  const nlohmann::json recipe = recipe_of(o, base, mix, training, held_out);
  MixedJobResult result{.weights = {.base = base.fingerprint, .recipe = recipe_hash(recipe)}};
  int64_t steps = 0;
  if (o.steps > 0) {
    result.training =
        train::train(ctx, fs, task,
                     {.steps = o.steps,
                      .accumulation = o.accumulation,
                      .lr = o.lr,
                      .lr_floor = 0.1f,
                      .seed = o.seed,
                      .evaluate_every = o.evaluate_every,
                      .checkpoint = o.out.string() + ".state",
                      .save_every = o.steps,
                      .save_seconds = o.save_seconds,
                      .recipe = recipe.dump()},
                     [&](const train::StepReport& report) {
                       ++steps;
                       return on_step({.step = report,
                                       .log = task.take_log(),
                                       .held_out = report.held_out ? &task.held_out() : nullptr});
                     });
  }
  result.rows = task.rows_seen();
  if (result.training.end == train::TrainEnd::cancelled) {
    return result;
  }
  if (o.steps > 0) {
    put_beacon(on_host(ctx, weights), result.weights);
  } else {
    result.weights = load_weights(fs, o.from, base.fingerprint);  // to the bit
    if (o.stored_bits < 16) {  // packed anew, from what the file's own precision gives back
      result.weights.tensors.clear();
      put_beacon(on_host(ctx, weights), result.weights);
    }
  }
  result.weights = with_packed_factors(result.weights, o.stored_bits);
  if (o.steps > 0) {
    // Of runs before this one it is known how many steps they made.
    result.weights.tokens_seen = static_cast<int64_t>(
        static_cast<double>(result.rows) / static_cast<double>(std::max<int64_t>(1, steps)) *
        static_cast<double>(result.training.steps));
  }
  const BeaconWeights written = on_device(ctx, take_beacon(result.weights, base.llama.config()));
  const MixedFigures figures = measure_mixed(ctx, plain, base.tokenizer, written, held_out, o);
  result.reading = figures.reading;
  result.questions = figures.questions;
  result.weights.held_out = {{"reading", to_json(result.reading)},
                             {"questions", to_json(result.questions)}};
  save_weights(fs, o.out, result.weights);
  result.bytes = fs.stat(o.out)->size_bytes;
  if (o.steps > 0) {
    fs.remove(o.out.string() + ".state");
  }
  return result;
}

}  // namespace offbook::compress
