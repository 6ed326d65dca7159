#include "apps/offbook/speed.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "src/compress/beacon/weights.h"
#include "src/model/lora_init.h"
#include "src/train/lora_task.h"
#include "src/train/optimizer.h"

namespace offbook::app {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kDecodeSteps = 32;
constexpr int32_t kTrainingLength = 512;
constexpr int32_t kTrainingTokens = 2048;  // of a micro-batch, as `learn` trains
constexpr int32_t kSegmentTokens = 1536;   // the longest segment
constexpr int32_t kRatio = 8;
constexpr size_t kTexts = 192;

std::vector<int32_t> some_tokens(const model::ModelConfig& config, int64_t count) {
  std::vector<int32_t> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<int32_t>((i * 7919 + 11) % static_cast<size_t>(config.vocab_size));
  }
  return out;
}

// Weights that every token is multiplied with in the layers, and in the head.
double layer_parameters(const model::ModelConfig& c) {
  return static_cast<double>(c.layers *
                             (2 * c.hidden * (c.q_width() + c.kv_width()) + 3 * c.hidden * c.ffn));
}
double head_parameters(const model::ModelConfig& c) {
  return static_cast<double>(c.vocab_size * c.hidden);
}
// Of n causal queries behind `kept` keys.
double attention_flops(const model::ModelConfig& c, double n, double kept) {
  return static_cast<double>(4 * c.q_width() * c.layers) * (n * kept + n * (n + 1) / 2);
}

double weight_bytes(const model::Llama& llama) {
  double bytes = static_cast<double>(llama.weights().lm_head.bytes());
  for (const model::LlamaLayerWeights& w : llama.weights().layers) {
    for (const Tensor* t : {&w.q, &w.k, &w.v, &w.o, &w.gate, &w.up, &w.down}) {
      bytes += static_cast<double>(t->bytes());
    }
  }
  return bytes;
}

class Speeds {
 public:
  Speeds(Engines& engines, const SpeedOptions& options,
         const std::function<void(const Speed&)>& on_speed)
      : engines_(engines), options_(options), on_speed_(on_speed) {}

  void prefill(int32_t tokens) {
    const std::string name = fmt::format("prefill {}", tokens);
    if (!is_wanted(name)) {
      return;
    }
    const std::vector<int32_t> ids = some_tokens(config(), tokens);
    const auto make_pass = [&](model::Decoder& decoder) -> Pass {
      auto sequence = std::make_shared<model::Sequence>(decoder.make_sequence());
      return [&decoder, &ids, sequence] {
        sequence->truncate(0);
        decoder.append({.sequence = sequence.get(), .tokens = ids});
      };
    };
    report_decoder(
        name, tokens, 1, tokens + 64, make_pass,
        {.unit = "tokens/s",
         .gflops = 2e-9 * (layer_parameters(config()) * tokens + head_parameters(config())) +
                   1e-9 * attention_flops(config(), tokens, 0)});
  }

  // `rows` sequences that share their first `kept` tokens' content, not their memory.
  void decode(int32_t kept, int32_t rows) {
    const std::string name = rows == 1 ? fmt::format("decode at {}", kept)
                                       : fmt::format("decode at {}, {} rows", kept, rows);
    if (!is_wanted(name)) {
      return;
    }
    const std::vector<int32_t> ids = some_tokens(config(), kept);
    const auto make_pass = [&](model::Decoder& decoder) -> Pass {
      auto sequences = std::make_shared<std::vector<model::Sequence>>();
      sequences->reserve(static_cast<size_t>(rows));
      std::vector<model::Append> appends;
      for (int32_t r = 0; r < rows; ++r) {
        sequences->push_back(decoder.make_sequence());
        decoder.append({.sequence = &sequences->back(), .tokens = ids});
        appends.push_back({.sequence = &sequences->back(), .tokens = std::span(ids).first(1)});
      }
      return [&decoder, kept, sequences, appends] {
        for (model::Sequence& s : *sequences) {
          s.truncate(kept);
        }
        for (int i = 0; i < kDecodeSteps; ++i) {
          decoder.append(appends);
        }
      };
    };
    const double kv =
        static_cast<double>(config().layers * 2 * config().kv_width() * 2) * rows * kept;
    report_decoder(
        name, static_cast<double>(rows) * kDecodeSteps, kDecodeSteps, int64_t{rows} * (kept + 128),
        make_pass,
        {.unit = "tokens/s", .gigabytes = 1e-9 * (weight_bytes(engines_.model().llama()) + kv)});
  }

  // Texts of 16 to 250 word pieces in one call, as the index stage encodes passages.
  void encode() {
    if (!is_wanted("sentence encoder")) {
      return;
    }
    model::SentenceEncoder& encoder = engines_.encoder();
    const std::string sentence =
        "the committee met on monday and decided that the budget would be published in march . ";
    std::vector<std::string> texts(kTexts);
    double pieces = 0;
    for (size_t i = 0; i < kTexts; ++i) {
      for (size_t n = 0; n < 1 + (i * 7) % 14; ++n) {
        texts[i] += sentence;
      }
      pieces += static_cast<double>(encoder.tokenizer().encode(texts[i]).ids.size());
    }
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    // MiniLM-L6: 6 layers of 4 h² + 8 h² weights; attention is left out of the count.
    const double h = static_cast<double>(encoder.dim());
    report("sentence encoder", pieces, 1, [&] { encoder.encode(views); },
           {.unit = "tokens/s", .gflops = 2e-9 * pieces * 6 * 12 * h * h});
  }

  // One step of LoRA training: forward, backward, optimizer. Counted as 4 N + attention: the base
  // is frozen.
  void train() {
    if (!is_wanted("LoRA training")) {
      return;
    }
    backend::ExecutionContext ctx = engines_.context();
    ctx.compute = backend::Compute::bf16;
    model::LoraAdapter adapter = model::make_lora_adapter(config(), {});
    const model::Llama base(
        ctx, config(), model::dequantised(ctx, engines_.model().llama().weights(), Dtype::bf16));
    const std::vector<train::TrainingSequence> sequences(
        kTrainingTokens / kTrainingLength,
        {.tokens = some_tokens(config(), kTrainingLength), .first_target = 1});
    train::LoraTask task(ctx, base, adapter, sequences, {},
                         {.micro_batch_tokens = kTrainingTokens});
    int64_t step = 0;
    const auto pass = [&] {
      backend::ArenaScope scope(*ctx.arena);
      autograd::Tape tape(ctx);
      for (train::Parameter& p : task.parameters()) {
        tape.watch(p.value, p.grad);
      }
      task.micro_batch({ctx, &tape}, 0);
      tape.backward();
      train::adamw_step(ctx, task.parameters(), {}, 1e-4f, ++step, 1.0f / kTrainingTokens);
    };
    const double passes = kTrainingTokens / kTrainingLength;
    report("LoRA training", kTrainingTokens, 1, pass,
           {.unit = "tokens/s",
            .gflops =
                4e-9 * (layer_parameters(config()) + head_parameters(config())) * kTrainingTokens +
                3e-9 * passes * attention_flops(config(), kTrainingLength, 0)});
  }

  // The writing pass of a beacon, its adapter merged: source tokens and slots.
  void compress() {
    if (!is_wanted("beacon writing")) {
      return;
    }
    backend::ExecutionContext ctx = engines_.context();
    ctx.compute = backend::Compute::bf16;
    const model::LanguageModel& model = engines_.model();
    const compress::BeaconInit init;
    const compress::BeaconWeights beacon =
        compress::new_beacon(ctx,
                             {.llama = model.llama(),
                              .tokenizer = model.tokenizer(),
                              .fingerprint = model.fingerprint()},
                             init);
    const model::Llama writer(
        ctx, config(), model::merged(ctx, model.llama().weights(), beacon.lora, Dtype::bf16));
    const std::vector<int32_t> ids = some_tokens(config(), kSegmentTokens);
    const compress::BeaconSegment segment{.tokens = ids, .ratio = kRatio};
    const auto pass = [&] {
      backend::ArenaScope scope(*ctx.arena);
      compress::write_slots({ctx}, writer, beacon, std::span(&segment, 1), {});
    };
    const double rows = kSegmentTokens + kSegmentTokens / kRatio;
    report("beacon writing", rows, 1, pass,
           {.unit = "tokens/s",
            .gflops = 2e-9 * layer_parameters(config()) * rows +
                      1e-9 * attention_flops(config(), rows, 0)});
  }

 private:
  const model::ModelConfig& config() { return engines_.model().config(); }

  bool is_wanted(const std::string& name) const {
    return options_.only.empty() || std::any_of(options_.only.begin(), options_.only.end(),
                                                [&](const auto& o) { return name.starts_with(o); });
  }

  using Pass = std::function<void()>;

  // Runs `pass` once to warm up and then several times. `work` has GFLOP and GB of one part of a
  // run.
  void report(const std::string& name, double things, int parts, const Pass& pass,
              const Speed& work) {
    report_in_turn({{name, pass}}, things, parts, work);
  }

  // What a decoder does; where it is wanted also over the weights as the file has them.
  void report_decoder(const std::string& name, double things, int parts, int64_t cache_tokens,
                      const std::function<Pass(model::Decoder&)>& make_pass, const Speed& work) {
    model::Decoder decoder = engines_.model().make_decoder(engines_.pool(), cache_tokens);
    if (!options_.has_file_weights) {
      return report(name, things, parts, make_pass(decoder), work);
    }
    backend::ExecutionContext ctx = engines_.context();
    ctx.compute = backend::Compute::bf16;
    const model::Llama plain(ctx, config(), engines_.model().llama().weights());
    model::Decoder unpacked(
        engines_.pool(), plain,
        {.backend = ctx.backend, .compute = ctx.compute, .cache_tokens = cache_tokens});
    report_in_turn({{name, make_pass(decoder)}, {name + ", file's", make_pass(unpacked)}}, things,
                   parts, work);
  }

  // The same work in several ways, one after the other in every round.
  void report_in_turn(const std::vector<std::pair<std::string, Pass>>& passes, double things,
                      int parts, const Speed& work) {
    std::vector<std::vector<double>> seconds(passes.size());
    for (const auto& [name, pass] : passes) {
      pass();
    }
    for (int run = 0; run < options_.runs; ++run) {
      for (size_t i = 0; i < passes.size(); ++i) {
        const auto began = Clock::now();
        passes[i].second();
        seconds[i].push_back(std::chrono::duration<double>(Clock::now() - began).count());
      }
    }
    for (size_t i = 0; i < passes.size(); ++i) {
      std::vector<double>& times = seconds[i];
      std::sort(times.begin(), times.end());
      const double median = times[times.size() / 2];
      Speed speed = work;
      speed.name = passes[i].first;
      speed.rate = things / median;
      speed.gflops *= parts / median;
      speed.gigabytes *= parts / median;
      speed.spread = (times.back() - times.front()) / median;
      on_speed_(speed);
    }
  }

  Engines& engines_;
  const SpeedOptions& options_;
  const std::function<void(const Speed&)>& on_speed_;
};

}  // namespace

void measure_speeds(Engines& engines, const SpeedOptions& options,
                    const std::function<void(const Speed&)>& on_speed) {
  Speeds speeds(engines, options, on_speed);
  speeds.prefill(512);
  speeds.prefill(2048);
  speeds.decode(512, 1);
  speeds.decode(4096, 1);
  speeds.decode(512, 8);
  speeds.encode();
  speeds.compress();
  speeds.train();
}

}  // namespace offbook::app
