#include "bench/system/model_work.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "src/backend/transfer.h"
#include "src/base/float16.h"
#include "src/base/random.h"
#include "src/compress/beacon/training.h"
#include "src/compress/beacon/weights.h"
#include "src/model/adapter_device.h"
#include "src/model/decoder.h"
#include "src/model/lora_init.h"
#include "src/ops/registry.h"
#include "src/train/full_task.h"
#include "src/train/lora_task.h"

namespace offbook::bench {
namespace {

using Clock = std::chrono::steady_clock;

double ms_of(const std::function<void()>& work) {
  const auto began = Clock::now();
  work();
  return std::chrono::duration<double, std::milli>(Clock::now() - began).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

Tensor random_numbers(int64_t count, float deviation) {
  Random random(count);
  Tensor t = Tensor::empty(Dtype::bf16, {count});
  for (int64_t i = 0; i < count; ++i) {
    t.data<Bf16>()[i] = to_bf16(deviation * static_cast<float>(random.normal()));
  }
  return t;
}

std::vector<int32_t> random_tokens(const model::ModelConfig& config, int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> out(static_cast<size_t>(count));
  for (int32_t& id : out) {
    id = static_cast<int32_t>(random.below(static_cast<uint64_t>(config.vocab_size)));
  }
  return out;
}

// The first rows again and again: twice as many with each copy.
void repeat_rows(const backend::ExecutionContext& ctx, const Tensor& all, int64_t filled) {
  while (filled < all.dim(0)) {
    const int64_t n = std::min(filled, all.dim(0) - filled);
    ops::copy(ctx, {.x = all.slice(0, 0, n), .out = all.slice(0, filled, filled + n)});
    filled += n;
  }
}

// A cache whose pages hold random keys and values.
void fill_cache(model::Decoder& decoder) {
  const backend::ExecutionContext& ctx = decoder.ctx();
  for (int layer = 0; layer < decoder.model().config().layers; ++layer) {
    for (const Tensor& pages : {decoder.cache().k(layer), decoder.cache().v(layer)}) {
      const Tensor flat = pages.reshape({pages.dim(0), pages.numel() / pages.dim(0)});
      const Tensor host = random_numbers(flat.dim(1), 1);
      backend::upload(ctx, {host.raw(), static_cast<size_t>(host.bytes())},
                      flat.slice(0, 0, 1).reshape({flat.dim(1)}));
      repeat_rows(ctx, flat, 1);
    }
  }
}

void wait(const backend::ExecutionContext& ctx) {
  backend::ArenaScope scope(*ctx.arena);
  const Tensor t = ctx.make(Dtype::i32, {1});
  ops::fill(ctx, {.value = 0, .out = t});
  int32_t value = 0;
  backend::download(ctx, t, std::as_writable_bytes(std::span(&value, 1)));
}

// Seconds a step of a task as train() runs it: the median, without the first `warm`. A step ends
// with the norm of its gradient on the host.
double step_seconds(const backend::ExecutionContext& ctx, train::TrainingTask& task,
                    int32_t accumulation, int steps, int warm = 2) {
  std::vector<double> seconds;
  Clock::time_point began = Clock::now();
  train::train(ctx, real_file_system(), task,
               {.steps = steps + warm, .accumulation = accumulation, .lr = 1e-4f},
               [&](const train::StepReport& report) {
                 const Clock::time_point now = Clock::now();
                 if (report.step > warm) {
                   seconds.push_back(std::chrono::duration<double>(now - began).count());
                 }
                 began = now;
                 return true;
               });
  return median(seconds);
}

std::string name_of(model::Checkpointing c) {
  return c == model::Checkpointing::none ? "activations kept" : "recomputed a layer at a time";
}

}  // namespace

model::ModelConfig llama2_7b() {
  model::ModelConfig c;
  c.vocab_size = 32'000;
  c.hidden = 4096;
  c.layers = 32;
  c.heads = 32;
  c.kv_heads = 32;
  c.head_dim = 128;
  c.ffn = 11'008;
  c.max_positions = 1 << 18;
  return c;
}

model::ModelConfig llama31_8b() {
  model::ModelConfig c = llama2_7b();
  c.vocab_size = 128'256;
  c.kv_heads = 8;
  c.ffn = 14'336;
  c.rope_theta = 500'000;
  return c;
}

model::ModelConfig smollm2_135m() {
  model::ModelConfig c;
  c.vocab_size = 49'152;
  c.hidden = 576;
  c.layers = 30;
  c.heads = 9;
  c.kv_heads = 3;
  c.head_dim = 64;
  c.ffn = 1536;
  c.max_positions = 1 << 15;
  c.rope_theta = 100'000;
  c.has_tied_embeddings = true;
  return c;
}

model::Llama random_model(const backend::ExecutionContext& ctx, const model::ModelConfig& c) {
  const int64_t some = int64_t{1} << 20;
  const Tensor host = random_numbers(some, 0.02f);
  const auto matrix = [&](int64_t rows, int64_t columns) {
    const auto bytes = static_cast<size_t>(rows * columns * 2);
    const Tensor flat(ctx.arena->allocator().allocate(bytes), Dtype::bf16, {rows * columns, 1});
    const int64_t first = std::min(some, rows * columns);
    backend::upload(ctx, {host.raw(), static_cast<size_t>(first * 2)},
                    flat.slice(0, 0, first).reshape({first}));
    const Tensor lines = Tensor(flat.storage(), Dtype::bf16, {rows * columns / 64, 64});
    repeat_rows(ctx, lines, std::max<int64_t>(1, first / 64));
    return Tensor(flat.storage(), Dtype::bf16, {rows, columns});
  };
  Tensor ones = Tensor::empty(Dtype::f32, {c.hidden});
  std::fill_n(ones.data<float>(), c.hidden, 1.0f);
  const auto norm = [&] { return backend::to_device(ctx, ones); };
  model::LlamaWeights w{.embedding = matrix(c.vocab_size, c.hidden), .final_norm = norm()};
  w.lm_head = c.has_tied_embeddings ? w.embedding : matrix(c.vocab_size, c.hidden);
  for (int64_t i = 0; i < c.layers; ++i) {
    w.layers.push_back({.attn_norm = norm(),
                        .q = matrix(c.q_width(), c.hidden),
                        .k = matrix(c.kv_width(), c.hidden),
                        .v = matrix(c.kv_width(), c.hidden),
                        .o = matrix(c.hidden, c.q_width()),
                        .ffn_norm = norm(),
                        .gate = matrix(c.ffn, c.hidden),
                        .up = matrix(c.ffn, c.hidden),
                        .down = matrix(c.hidden, c.ffn)});
  }
  return model::Llama(ctx, c, std::move(w));
}

model::ModelConfig config_named(std::string_view name) {
  if (name == "smollm2") {
    return smollm2_135m();
  }
  OB_REQUIRE(name == "llama2_7b" || name == "llama31_8b", InvalidArgument, "no shape {}", name);
  return name == "llama2_7b" ? llama2_7b() : llama31_8b();
}

double peak_gib(const Bench& bench) {
  return static_cast<double>(bench.device.peak_gpu_bytes()) / (1 << 30);
}

double decode_bytes(const Bench& bench, int64_t kept) {
  const model::ModelConfig& c = bench.model.config();
  const double layer =
      static_cast<double>(2 * c.hidden * (c.q_width() + c.kv_width()) + 3 * c.hidden * c.ffn);
  const double head = static_cast<double>(c.vocab_size * c.hidden);
  const double cache = static_cast<double>(c.layers * 2 * c.kv_width()) * static_cast<double>(kept);
  return 2 * (static_cast<double>(c.layers) * layer + head + cache);
}

double copy_bytes_per_ms(const Bench& bench) {
  const backend::ExecutionContext ctx = bench.ctx();
  constexpr int64_t kRows = 1 << 20;  // of 2 KiB
  const auto memory = [&] {
    return Tensor(ctx.arena->allocator().allocate(size_t{2048} * kRows), Dtype::bf16,
                  {kRows, 1024});
  };
  const Tensor from = memory();
  const Tensor to = memory();
  ops::fill(ctx, {.value = 1, .out = from});
  std::vector<double> times;
  for (int i = 0; i < 7; ++i) {
    wait(ctx);
    times.push_back(ms_of([&] {
      ops::copy(ctx, {.x = from, .out = to});
      ops::copy(ctx, {.x = to, .out = from});
      wait(ctx);
    }));
  }
  return 4 * 2048.0 * kRows / median(times);
}

namespace {

// Median milliseconds until the logits of the last row of `input` are on the host, in a sequence of
// its own.
double first_logits_ms(const Bench& bench, model::Append input, int64_t rows, int runs) {
  const backend::ExecutionContext ctx = bench.ctx();
  model::Decoder decoder(ctx, bench.model, model::Decoder::options_for(ctx, rows + 64));
  std::vector<float> logits(static_cast<size_t>(bench.model.config().vocab_size));
  std::vector<double> times;
  for (int i = 0; i <= runs; ++i) {
    model::Sequence sequence = decoder.make_sequence();
    input.sequence = &sequence;
    times.push_back(ms_of([&] {
      backend::download(ctx, decoder.append(input), std::as_writable_bytes(std::span(logits)));
    }));
  }
  times.erase(times.begin());
  return median(times);
}

}  // namespace

double prefill_ms(const Bench& bench, int32_t tokens, int runs) {
  const std::vector<int32_t> ids = random_tokens(bench.model.config(), tokens, 1);
  return first_logits_ms(bench, {.tokens = ids}, tokens, runs);
}

double soft_prefill_ms(const Bench& bench, int32_t tokens, int runs) {
  const int64_t hidden = bench.model.config().hidden;
  const Tensor vectors = random_numbers(tokens * hidden, 0.02f).reshape({tokens, hidden});
  return first_logits_ms(bench, {.soft_tokens = vectors}, tokens, runs);
}

namespace {

// A decoder with a sequence of `kept` tokens in its cache and room for `more`.
struct KeptSequence {
  KeptSequence(const Bench& bench, int64_t kept, int64_t more)
      : ctx(bench.ctx()),
        decoder(ctx, bench.model, model::Decoder::options_for(ctx, kept + more + 128)),
        sequence(decoder.make_sequence()) {
    fill_cache(decoder);
    std::vector<int32_t> slots;
    sequence.extend(ctx, static_cast<int32_t>(kept), slots);
  }

  backend::ExecutionContext ctx;
  model::Decoder decoder;
  model::Sequence sequence;
};

}  // namespace

double decode_ms(const Bench& bench, int64_t kept, int steps) {
  KeptSequence at(bench, kept, steps);
  int32_t token = 17;
  std::vector<double> times;
  for (int i = 0; i < steps + 4; ++i) {
    times.push_back(ms_of([&] {
      const model::Append one{.sequence = &at.sequence, .tokens = std::span(&token, 1)};
      at.decoder.step(std::span(&one, 1), std::span(&token, 1));
    }));
  }
  times.erase(times.begin(), times.begin() + 4);
  return median(times);
}

double question_ms(const Bench& bench, int64_t kept, int32_t question, int runs) {
  KeptSequence at(bench, kept, question);
  const std::vector<int32_t> ids = random_tokens(bench.model.config(), question, 1);
  std::vector<float> logits(static_cast<size_t>(bench.model.config().vocab_size));
  std::vector<double> times;
  for (int i = 0; i <= runs; ++i) {
    times.push_back(ms_of([&] {
      backend::download(at.ctx, at.decoder.append({.sequence = &at.sequence, .tokens = ids}),
                        std::as_writable_bytes(std::span(logits)));
    }));
    at.sequence.truncate(static_cast<int32_t>(kept));
  }
  times.erase(times.begin());
  return median(times);
}

double batch_decode_rate(const Bench& bench, int rows, int64_t kept, int adapters, int steps) {
  const backend::ExecutionContext ctx = bench.ctx();
  model::Decoder decoder(ctx, bench.model,
                         model::Decoder::options_for(ctx, rows * (kept + steps + 128)));
  fill_cache(decoder);
  std::vector<model::LoraAdapter> loras;
  for (int i = 0; i < adapters; ++i) {
    loras.push_back(model::make_lora_adapter(bench.model.config(),
                                             {.rank = 8, .seed = static_cast<uint64_t>(i)}));
  }
  std::vector<model::Sequence> sequences;
  std::vector<int32_t> tokens(static_cast<size_t>(rows), 17);
  std::vector<model::Append> appends;
  std::vector<int32_t> slots;
  for (int i = 0; i < rows; ++i) {
    sequences.push_back(decoder.make_sequence());
    sequences.back().extend(ctx, static_cast<int32_t>(kept), slots);
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    appends.push_back({.sequence = &sequences[i],
                       .tokens = std::span(&tokens[i], 1),
                       .adapter = loras.empty() ? nullptr : &loras[i % loras.size()]});
  }
  std::vector<double> times;
  for (int i = 0; i < steps + 3; ++i) {
    times.push_back(ms_of([&] { decoder.step(appends, tokens); }));
  }
  times.erase(times.begin(), times.begin() + 3);
  return 1e3 * rows / median(times);
}

TrainingRate lora_rate(const Bench& bench, int batch, const Kept& kept, int steps, int32_t length) {
  const backend::ExecutionContext ctx = bench.ctx();
  model::LoraAdapter adapter =
      model::on_device(ctx, model::make_lora_adapter(bench.model.config(), {}));
  std::vector<train::TrainingSequence> sequences;
  for (uint64_t i = 0; i < 16; ++i) {
    sequences.push_back({.tokens = random_tokens(bench.model.config(), length, i)});
  }
  train::LoraTask task(ctx, bench.model, adapter, std::move(sequences), {},
                       {.micro_batch_tokens = batch * length,
                        .checkpointing = kept.checkpointing,
                        .activations = ctx.activations(),
                        .kept_bytes = kept.bytes});
  const double rate = batch * length / step_seconds(ctx, task, 1, steps);
  return {rate, peak_gib(bench), name_of(kept.checkpointing)};
}

TrainingRate full_rate(const Bench& bench, int sequences, int at_once, int steps) {
  constexpr int32_t kLength = 2048;
  OB_CHECK(sequences % at_once == 0);
  const backend::ExecutionContext ctx = bench.ctx();
  std::vector<train::TrainingSequence> training;
  for (uint64_t i = 0; i < 64; ++i) {
    training.push_back({.tokens = random_tokens(bench.model.config(), kLength, i)});
  }
  train::FullTask task(ctx, bench.model, std::move(training), {},
                       {.micro_batch_tokens = at_once * kLength,
                        .checkpointing = model::Checkpointing::none,
                        .activations = ctx.activations()});
  const double rate = sequences * kLength / step_seconds(ctx, task, sequences / at_once, steps);
  return {rate, peak_gib(bench), name_of(model::Checkpointing::none)};
}

TrainingRate beacon_rate(const Bench& bench, int windows, int steps) {
  const backend::ExecutionContext ctx = bench.ctx();
  const model::ModelConfig& config = bench.model.config();
  compress::BeaconInit init;
  init.lora.rank = 64;
  init.lora.alpha = 128;
  compress::BeaconWeights fresh{.lora = model::make_lora_adapter(config, init.lora),
                                .ratios = init.ratios};
  fresh.slot = Tensor::zeros(Dtype::f32, {static_cast<int64_t>(init.ratios.size()), config.hidden});
  std::fill_n(fresh.slot.data<float>(), fresh.slot.numel(), 0.02f);
  fresh.pool = Tensor::zeros(Dtype::f32, {1});
  fresh.pool.data<float>()[0] = init.pool;
  compress::BeaconWeights weights = compress::on_device(ctx, fresh);
  compress::TrainingText text;
  for (uint64_t d = 0; d < 8; ++d) {
    text.add("random", random_tokens(config, 200'000, d));
  }
  compress::BeaconTrainingOptions options{.at_once = windows,
                                          .checkpointing = model::Checkpointing::none,
                                          .activations = ctx.activations()};
  compress::BeaconTask task(ctx, bench.model, weights, text, {}, options);
  // Each new length of a packed pass asks cuDNN for plans (50 to 80 ms a gradient); after some 20
  // steps nearly all are there.
  constexpr int kWarm = 20;
  const double rate =
      windows * task.tokens_per_micro_batch() / step_seconds(ctx, task, windows, steps, kWarm);
  return {rate, peak_gib(bench), name_of(options.checkpointing)};
}

double compress_rate(const Bench& bench, int batch, int runs) {
  constexpr int32_t kSegment = 1536;
  constexpr int32_t kRatio = 31;  // 50 slots
  const backend::ExecutionContext ctx = bench.ctx();
  const model::ModelConfig& config = bench.model.config();
  compress::BeaconWeights weights{.ratios = {kRatio}};
  weights.slot = backend::to_device(ctx, Tensor::zeros(Dtype::f32, {1, config.hidden}));
  weights.pool = backend::to_device(ctx, Tensor::zeros(Dtype::f32, {1}));
  const std::vector<int32_t> text = random_tokens(config, int64_t{batch} * kSegment, 3);
  std::vector<compress::BeaconSegment> segments;
  for (int i = 0; i < batch; ++i) {
    segments.push_back(
        {.tokens = std::span(text).subspan(static_cast<size_t>(i * kSegment), kSegment),
         .ratio = kRatio,
         .keeps_sink = i == 0});
  }
  std::vector<double> times;
  for (int i = 0; i <= runs; ++i) {
    backend::ArenaScope scope(*ctx.arena);
    times.push_back(ms_of([&] {
      compress::write_slots({ctx}, bench.model, weights, segments,
                            {.activations = ctx.activations()});
      wait(ctx);
    }));
  }
  times.erase(times.begin());
  return 1e3 * batch * kSegment / median(times);
}

}  // namespace offbook::bench
