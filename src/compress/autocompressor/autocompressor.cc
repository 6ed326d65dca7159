#include "src/compress/autocompressor/autocompressor.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/backend/transfer.h"
#include "src/compress/embeddings.h"
#include "src/model/adapter_device.h"
#include "src/ops/registry.h"

namespace offbook::compress {
namespace {

constexpr int32_t kSink = 0;
// The reference's slots that were soft tokens began with these (pre-study, 0.37 of the gap after 12
// M tokens; final hidden states as they are, ten to twenty times longer than embeddings, taught
// nothing in as many).
constexpr float kReadWords = 0.3f, kOwnWords = 1.0f;
constexpr int32_t kSizedTokens = 64;  // embeddings that the size of vectors starts from

// Rows of a pass, by where their input comes from.
struct Rows {
  std::vector<int32_t> ids, id_rows;
  std::vector<int32_t> summary, summary_rows;  // rows of the table, rows of the pass
  std::vector<int32_t> texts;                  // of segments with a summary: rows of `ids`
  std::vector<int32_t> words = {0};  // where in `texts` the words of each summary token end
  std::vector<int32_t> positions;
  std::vector<model::PackedSequence> sequences;
  std::vector<int32_t> begins;
  int32_t count = 0;
};

int32_t vectors_before(const AutoSegment& segment) {
  return segment.before.defined() ? static_cast<int32_t>(segment.before.dim(0)) : 0;
}

Rows lay_out(std::span<const AutoSegment> segments) {
  Rows rows;
  for (const AutoSegment& segment : segments) {
    const int32_t begin = rows.count;
    const auto token = [&](int32_t id) {
      rows.ids.push_back(id);
      rows.id_rows.push_back(rows.count++);
    };
    rows.begins.push_back(begin);
    token(kSink);
    rows.count += vectors_before(segment);
    const auto text = static_cast<int32_t>(rows.ids.size());
    const auto length = static_cast<int32_t>(segment.tokens.size());
    for (const int32_t id : segment.tokens) {
      token(id);
    }
    const auto first = static_cast<int32_t>(rows.texts.size());
    for (int32_t i = 0; i < segment.summary; ++i) {
      rows.summary.push_back(i);
      rows.summary_rows.push_back(rows.count++);
      rows.words.push_back(first +
                           static_cast<int32_t>(int64_t{length} * (i + 1) / segment.summary));
    }
    for (int32_t i = 0; segment.summary > 0 && i < length; ++i) {
      rows.texts.push_back(text + i);
    }
    rows.sequences.push_back({.length = rows.count - begin});
    for (int32_t i = 0; i < rows.count - begin; ++i) {
      rows.positions.push_back(i);
    }
  }
  return rows;
}

Tensor ints(const Graph& g, const std::vector<int32_t>& values) {
  return model::make_ints(g.ctx, values, {static_cast<int64_t>(values.size())});
}

// Mean embeddings [summary tokens of the pass, hidden] of the tokens that each stands for.
Tensor words_of(const Graph& g, const Tensor& embedded, const Rows& rows) {
  return autograd::segment_mean(g, autograd::gather_rows(g, embedded, ints(g, rows.texts)),
                                ints(g, rows.words), static_cast<int64_t>(rows.summary.size()));
}

Tensor summary_inputs(const Graph& g, const AutoWeights& weights, const Rows& rows,
                      const Tensor& words) {
  std::vector<int32_t> all(rows.summary.size());
  std::iota(all.begin(), all.end(), 0);
  const Tensor table = g.make(words.dtype(), words.shape());  // in the type of the pass
  autograd::scatter_rows(g, autograd::gather_rows(g, weights.summary, ints(g, rows.summary)),
                         ints(g, all), table);
  const Tensor none = g.make(Dtype::f32, {words.dim(1)});
  ops::fill(g.ctx, {.value = 0, .out = none});
  return autograd::add(g, table, autograd::affine_rows(g, words, weights.read_words, none));
}

Tensor input(const Graph& g, const model::Llama& model, const AutoWeights& weights,
             std::span<const AutoSegment> segments, const Rows& rows, const Tensor& embedded,
             const Tensor& words) {
  const Tensor x = g.make(embedded.dtype(), {rows.count, model.config().hidden});
  autograd::scatter_rows(g, embedded, ints(g, rows.id_rows), x);
  if (words.defined()) {
    autograd::scatter_rows(g, summary_inputs(g, weights, rows, words), ints(g, rows.summary_rows),
                           x);
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    if (const int32_t n = vectors_before(segments[i]); n > 0) {
      std::vector<int32_t> at(static_cast<size_t>(n));
      std::iota(at.begin(), at.end(), rows.begins[i] + 1);
      autograd::scatter_rows(g, segments[i].before, ints(g, at), x);
    }
  }
  return x;
}

// Root of the mean square of the first tokens' embeddings.
float embedding_size(const backend::ExecutionContext& ctx, const BaseModel& base) {
  double sum = 0;
  const auto tokens =
      static_cast<int32_t>(std::min<int64_t>(kSizedTokens, base.llama.config().vocab_size));
  for (int32_t id = 0; id < tokens; ++id) {
    const Tensor row = embedding_of(ctx, base, id);
    sum += std::transform_reduce(row.data<float>(), row.data<float>() + row.numel(), 0.0,
                                 std::plus<>(), [](float v) { return double{v} * v; });
  }
  return static_cast<float>(
      std::sqrt(sum / static_cast<double>(tokens * base.llama.config().hidden)));
}

Tensor filled(Shape shape, float value) {
  Tensor out = Tensor::empty(Dtype::f32, std::move(shape));
  std::fill_n(out.data<float>(), out.numel(), value);
  return out;
}

// All but the adapter, as before the first step; summary rows are left zero.
void set_learned(AutoWeights& to, int64_t summary_tokens, int64_t hidden, float size) {
  to.summary = filled({summary_tokens, hidden}, 0);
  to.scale = filled({hidden}, size);
  to.shift = filled({hidden}, 0);
  to.read_words = filled({1}, kReadWords);
  to.own_words = filled({1}, kOwnWords);
}

}  // namespace

AutoWeights new_autocompressor(const backend::ExecutionContext& ctx, const BaseModel& base,
                               const AutoInit& init) {
  OB_REQUIRE(init.summary_tokens >= 1 && init.summary_tokens <= 4096, InvalidArgument,
             "1 to 4096 summary tokens, not {}", init.summary_tokens);
  const model::ModelConfig& config = base.llama.config();
  AutoWeights out{.lora = model::make_lora_adapter(config, init.lora), .carry = init.carry};
  out.lora.base = base.fingerprint;
  const Tensor start = embedding_of(ctx, base, base.tokenizer.special().eos.value_or(kSink));
  set_learned(out, init.summary_tokens, config.hidden, embedding_size(ctx, base));
  for (int64_t i = 0; i < init.summary_tokens; ++i) {
    std::copy_n(start.data<float>(), config.hidden, out.summary.data<float>() + i * config.hidden);
  }
  return out;
}

void put_autocompressor(const AutoWeights& autocompressor, CompressorWeights& weights) {
  weights.method = "autocompressor";
  weights.settings["summary_tokens"] = autocompressor.summary.dim(0);
  weights.settings["mode"] = autocompressor.carry == Carry::accumulate ? "accumulate" : "replace";
  put_lora(autocompressor.lora, weights);
  each_learned(autocompressor, [&](const char* name, const Tensor& tensor) {
    Tensor copy = Tensor::empty(Dtype::f32, tensor.shape());
    std::copy_n(tensor.data<float>(), copy.numel(), copy.data<float>());
    weights.tensors[name] = copy;
  });
}

AutoWeights take_autocompressor(const CompressorWeights& weights,
                                const model::ModelConfig& config) {
  const JsonFields settings(weights.settings, "autocompressor settings");
  const std::string mode = settings.get_string("mode");
  OB_REQUIRE(mode == "accumulate" || mode == "replace", Corrupt,
             "autocompressor settings: mode is accumulate or replace, not {}", printable(mode));
  AutoWeights out{.lora = take_lora(weights, config),
                  .carry = mode == "accumulate" ? Carry::accumulate : Carry::replace};
  set_learned(out, settings.get_int("summary_tokens", 1, 4096), config.hidden, 0);
  each_learned(out, [&](const char* name, Tensor& tensor) {
    tensor = take_f32(weights, name, tensor.shape());
  });
  return out;
}

AutoWeights on_device(const backend::ExecutionContext& ctx, const AutoWeights& autocompressor) {
  AutoWeights out = autocompressor;
  out.lora = model::on_device(ctx, autocompressor.lora);
  each_learned(out, [&](const char*, Tensor& tensor) { tensor = backend::to_device(ctx, tensor); });
  return out;
}

AutoWeights on_host(const backend::ExecutionContext& ctx, const AutoWeights& autocompressor) {
  AutoWeights out = autocompressor;
  out.lora = model::on_host(ctx, autocompressor.lora);
  each_learned(out, [&](const char*, Tensor& tensor) { tensor = model::on_host(ctx, tensor); });
  return out;
}

// Vectors [summary tokens of the pass, hidden].
Tensor vectors_of(const Graph& g, const AutoWeights& weights, const Tensor& hidden,
                  const Rows& rows, const Tensor& words, float eps) {
  const Tensor states = autograd::gather_rows(g, hidden, ints(g, rows.summary_rows));
  return autograd::add(g, autograd::rms_norm(g, states, weights.scale, eps),
                       autograd::affine_rows(g, words, weights.own_words, weights.shift));
}

std::vector<AutoOutput> run_segments(const Graph& g, const model::Llama& model,
                                     const AutoWeights& weights,
                                     std::span<const AutoSegment> segments,
                                     const AutoPassOptions& options) {
  OB_REQUIRE(!segments.empty(), InvalidArgument, "no segment to run");
  for (const AutoSegment& segment : segments) {
    OB_REQUIRE(segment.summary >= 0 && segment.summary <= weights.summary.dim(0), InvalidArgument,
               "{} summary tokens of {}", segment.summary, weights.summary.dim(0));
  }
  const Rows rows = lay_out(segments);
  const Tensor embedded = model.embed(g, ints(g, rows.ids), options.activations);
  const Tensor words = rows.summary.empty() ? Tensor() : words_of(g, embedded, rows);
  auto path = std::make_shared<model::PackedAttention>(
      g.ctx, model.config(), model.inv_freq(),
      model::PackedAttention::Options{.sequences = rows.sequences, .positions = rows.positions});
  if (g.tape != nullptr) {
    g.tape->keep_alive(path);
  }
  const Tensor hidden =
      model.run(g, input(g, model, weights, segments, rows, embedded, words), *path,
                {.adapters = {.one = options.lora}, .checkpointing = options.checkpointing});
  const Tensor vectors = words.defined()
                             ? vectors_of(g, weights, hidden, rows, words, model.config().rms_eps)
                             : Tensor();
  std::vector<AutoOutput> out;
  int64_t done = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const int64_t text = rows.begins[i] + 1 + vectors_before(segments[i]);
    const int64_t end = text + static_cast<int64_t>(segments[i].tokens.size());
    out.push_back(
        {.text = hidden.slice(0, text, end), .text_and_before = hidden.slice(0, text - 1, end)});
    if (segments[i].summary > 0) {
      out.back().vectors = vectors.slice(0, done, done + segments[i].summary);
      done += segments[i].summary;
    }
  }
  return out;
}

}  // namespace offbook::compress
