#include "src/compress/autocompressor/autocompressor.h"

#include <algorithm>

#include "src/backend/transfer.h"
#include "src/compress/embeddings.h"
#include "src/model/adapter_device.h"

namespace offbook::compress {
namespace {

constexpr int32_t kSink = 0;
constexpr char kSummary[] = "summary.vectors";

// Rows of a pass, by where their input comes from.
struct Rows {
  std::vector<int32_t> ids, id_rows;
  std::vector<int32_t> summary, summary_rows;  // rows of the table, rows of the pass
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
    for (const int32_t id : segment.tokens) {
      token(id);
    }
    for (int32_t i = 0; i < segment.summary; ++i) {
      rows.summary.push_back(i);
      rows.summary_rows.push_back(rows.count++);
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

Tensor input(const Graph& g, const model::Llama& model, const AutoWeights& weights,
             std::span<const AutoSegment> segments, const Rows& rows, Dtype dtype) {
  const Tensor x = g.make(dtype, {rows.count, model.config().hidden});
  autograd::scatter_rows(g, model.embed(g, ints(g, rows.ids), dtype), ints(g, rows.id_rows), x);
  if (!rows.summary.empty()) {
    autograd::scatter_rows(g, autograd::gather_rows(g, weights.summary, ints(g, rows.summary)),
                           ints(g, rows.summary_rows), x);
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

}  // namespace

AutoWeights new_autocompressor(const backend::ExecutionContext& ctx, const BaseModel& base,
                               const AutoInit& init) {
  OB_REQUIRE(init.summary_tokens >= 1 && init.summary_tokens <= 4096, InvalidArgument,
             "1 to 4096 summary tokens, not {}", init.summary_tokens);
  const model::ModelConfig& config = base.llama.config();
  AutoWeights out{.lora = model::make_lora_adapter(config, init.lora), .carry = init.carry};
  out.lora.base = base.fingerprint;
  const Tensor start = embedding_of(ctx, base, base.tokenizer.special().eos.value_or(kSink));
  out.summary = Tensor::empty(Dtype::f32, {init.summary_tokens, config.hidden});
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
  Tensor copy = Tensor::empty(Dtype::f32, autocompressor.summary.shape());
  std::copy_n(autocompressor.summary.data<float>(), copy.numel(), copy.data<float>());
  weights.tensors[kSummary] = copy;
}

AutoWeights take_autocompressor(const CompressorWeights& weights,
                                const model::ModelConfig& config) {
  const JsonFields settings(weights.settings, "autocompressor settings");
  const std::string mode = settings.get_string("mode");
  OB_REQUIRE(mode == "accumulate" || mode == "replace", Corrupt,
             "autocompressor settings: mode is accumulate or replace, not {}", printable(mode));
  return {.lora = take_lora(weights, config),
          .summary = take_f32(weights, kSummary,
                              {settings.get_int("summary_tokens", 1, 4096), config.hidden}),
          .carry = mode == "accumulate" ? Carry::accumulate : Carry::replace};
}

AutoWeights on_device(const backend::ExecutionContext& ctx, const AutoWeights& autocompressor) {
  return {.lora = model::on_device(ctx, autocompressor.lora),
          .summary = backend::to_device(ctx, autocompressor.summary),
          .carry = autocompressor.carry};
}

AutoWeights on_host(const backend::ExecutionContext& ctx, const AutoWeights& autocompressor) {
  return {.lora = model::on_host(ctx, autocompressor.lora),
          .summary = model::on_host(ctx, autocompressor.summary),
          .carry = autocompressor.carry};
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
  auto path = std::make_shared<model::PackedAttention>(
      g.ctx, model.config(), model.inv_freq(),
      model::PackedAttention::Options{.sequences = rows.sequences, .positions = rows.positions});
  if (g.tape != nullptr) {
    g.tape->keep_alive(path);
  }
  const Tensor hidden =
      model.run(g, input(g, model, weights, segments, rows, options.activations), *path,
                {.adapters = {.one = options.lora}, .checkpointing = options.checkpointing});
  std::vector<AutoOutput> out;
  for (size_t i = 0; i < segments.size(); ++i) {
    const int64_t text = rows.begins[i] + 1 + vectors_before(segments[i]);
    const int64_t end = text + static_cast<int64_t>(segments[i].tokens.size());
    out.push_back({.text = hidden.slice(0, text, end),
                   .text_and_before = hidden.slice(0, text - 1, end)});
    if (segments[i].summary > 0) {
      out.back().vectors = hidden.slice(0, end, end + segments[i].summary);
    }
  }
  return out;
}

}  // namespace offbook::compress
