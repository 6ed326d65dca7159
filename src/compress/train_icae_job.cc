#include "src/compress/train_icae_job.h"

#include "src/compress/packed_factors.h"
#include "src/compress/passes.h"

namespace offbook::compress {
namespace {

nlohmann::json recipe_of(const IcaeJobOptions& o, const BaseModel& base,
                         const TrainingSet& training) {
  return {{"method", "icae"},
          {"base", base.fingerprint.model},
          {"data", training.recipe},
          {"steps", o.steps},
          {"accumulation", o.accumulation},
          {"lr", o.lr},
          {"rank", o.rank},
          {"seed", o.seed},
          {"memory_tokens", o.memory_tokens},
          {"windows", o.windows},
          {"ratio", o.ratio},
          {"autoencode_share", o.autoencode_share},
          {"instruct_share", o.instruct_share},
          {"saves_memory", o.saves_memory}};
}

}  // namespace

IcaeJobResult train_icae(const backend::ExecutionContext& ctx, FileSystem& fs,
                         const BaseModel& base, const IcaeJobOptions& o,
                         const std::function<bool(const train::StepReport&)>& on_step) {
  OB_REQUIRE(!o.out.empty(), InvalidArgument, "training needs a file for the weights");
  const TrainingSet training = load_shards(fs, o.shards, base.fingerprint);
  const TrainingSet held_out = load_shards(fs, o.held_out, base.fingerprint);
  const model::Llama plain(ctx, base.llama.config(),
                           dequantised(ctx, base.llama.weights(), merged_type(ctx)));
  const BaseModel plain_base{plain, base.tokenizer, base.fingerprint, base.chat_format};
  IcaeInit init;
  init.lora.rank = o.rank;
  init.lora.alpha = 2 * static_cast<float>(o.rank);
  init.lora.seed = o.seed;
  init.memory_tokens = o.memory_tokens;
  IcaeWeights weights = on_device(ctx, new_icae(ctx, plain_base, init));
  const int32_t end = base.tokenizer.special().eos.value_or(0);
  IcaeTrainingTask task(ctx, plain, weights, training,
                        {.windows = o.windows,
                         .ratio = o.ratio,
                         .shortest = std::min(64, o.ratio * o.memory_tokens),
                         .autoencode_share = o.autoencode_share,
                         .instruct_share = o.instruct_share,
                         .end_token = end,
                         .checkpointing = o.saves_memory ? model::Checkpointing::per_layer
                                                         : model::Checkpointing::none,
                         .activations = ctx.activations()});
  const nlohmann::json recipe = recipe_of(o, base, training);
  IcaeJobResult result;
  result.weights.base = base.fingerprint;
  result.weights.recipe = recipe_hash(recipe);
  result.training = train::train(ctx, fs, task,
                                 {.steps = o.steps,
                                  .accumulation = o.accumulation,
                                  .lr = o.lr,
                                  .lr_floor = 0.1f,
                                  .seed = o.seed,
                                  .checkpoint = o.out.string() + ".state",
                                  .recipe = recipe.dump()},
                                 on_step);
  result.rows = task.rows_seen();
  if (result.training.end == train::TrainEnd::cancelled) {
    return result;
  }
  put_icae(on_host(ctx, weights), result.weights);
  result.weights = with_packed_factors(result.weights, o.stored_bits);
  result.weights.tokens_seen = result.rows;
  const IcaeWeights written = on_device(ctx, take_icae(result.weights, base.llama.config()));
  const TrainingText text = text_of(held_out);
  IcaeMeasureOptions measure{
      .ratio = o.ratio, .context = o.ratio * o.memory_tokens, .end_token = end};
  const auto windows = text.held_out(o.held_out_windows, measure.context + measure.continuation);
  result.figures = measure_icae(ctx, plain, written, windows, measure);
  result.weights.held_out = to_json(result.figures);
  save_weights(fs, o.out, result.weights);
  result.bytes = fs.stat(o.out)->size_bytes;
  fs.remove(o.out.string() + ".state");
  return result;
}

nlohmann::json to_json(const IcaeFigures& figures) {
  return {{"continuation", to_json(std::vector<MemoryFigures>{figures.memory})},
          {"autoencode", figures.autoencode},
          {"autoencode_other", figures.autoencode_other}};
}

}  // namespace offbook::compress
