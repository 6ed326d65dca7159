#include "src/compress/quito/attention_row.h"

#include <algorithm>
#include <cmath>

#include "src/backend/transfer.h"

namespace offbook::compress {
namespace {

using model::Graph;

struct Sequences {
  std::vector<int32_t> ids;
  std::vector<int32_t> positions;
  std::vector<int32_t> last_rows;
  std::vector<model::PackedSequence> packed;
};

// Lets a pass go on as it is, and computes the wanted rows of the wanted layers beside it.
class RowRecorder final : public model::AttentionPath {
 public:
  RowRecorder(const backend::ExecutionContext& ctx, const model::Llama& model,
              const Sequences& sequences, std::span<const RowPrompt> prompts,
              std::span<const HeadChoice> heads)
      : model_(model),
        sequences_(sequences),
        prompts_(prompts),
        heads_(heads),
        path_(ctx, model.config(), model.inv_freq(),
              {.sequences = sequences.packed, .positions = sequences.positions}),
        last_(model::make_ints(ctx, sequences.last_rows,
                               {static_cast<int64_t>(sequences.last_rows.size())})) {
    const float scale = model::rope_frequencies(model.config()).scale;
    key_table_ = model::make_rope_table(ctx, sequences.positions, model.inv_freq(), scale);
    std::vector<int32_t> last_positions;
    for (const int32_t row : sequences.last_rows) {
      last_positions.push_back(sequences.positions[static_cast<size_t>(row)]);
    }
    query_table_ = model::make_rope_table(ctx, last_positions, model.inv_freq(), scale);
    for (const RowPrompt& prompt : prompts) {
      rows_.emplace_back(prompt.end - prompt.begin, 0.0);
    }
  }

  Tensor attend(const Graph& g, int layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override {
    const bool is_wanted = std::any_of(heads_.begin(), heads_.end(),
                                       [&](const HeadChoice& h) { return h.layer == layer; });
    if (is_wanted) {
      // Before the layer's own work, whose tensors follow in the arena.
      backend::ArenaScope scope(*g.ctx.arena);
      record(g, layer, q, k);
    }
    return path_.attend(g, layer, q, k, v);
  }

  std::vector<std::vector<double>> take() { return std::move(rows_); }

 private:
  static std::vector<float> to_host(const Graph& g, const Tensor& x) {
    std::vector<float> out(static_cast<size_t>(x.numel()));
    backend::download(g.ctx, x, std::as_writable_bytes(std::span(out)));
    return out;
  }

  void record(const Graph& g, int layer, const Tensor& q, const Tensor& k) {
    const std::vector<float> queries =
        to_host(g, autograd::rope(g, autograd::gather_rows(g, q, last_), query_table_));
    const std::vector<float> keys = to_host(g, autograd::rope(g, k, key_table_));
    const int64_t dim = k.dim(2);
    const int64_t kv_heads = k.dim(1);
    const int64_t group = q.dim(1) / kv_heads;
    size_t first = 0;
    for (size_t s = 0; s < prompts_.size(); ++s) {
      for (const HeadChoice& choice : heads_) {
        if (choice.layer == layer) {
          const float* query =
              queries.data() + (static_cast<int64_t>(s) * q.dim(1) + choice.head) * dim;
          const float* key =
              keys.data() + (static_cast<int64_t>(first) * kv_heads + choice.head / group) * dim;
          add_row(layer, s, {query, static_cast<size_t>(dim)}, key, kv_heads * dim);
        }
      }
      first += prompts_[s].ids.size();
    }
  }

  void add_row(int layer, size_t prompt, std::span<const float> query, const float* keys,
               int64_t stride) {
    const RowPrompt& p = prompts_[prompt];
    const auto n = static_cast<int64_t>(p.ids.size());
    const int64_t window = model_.config().window(layer);
    const int64_t begin = window > 0 ? std::max<int64_t>(0, n - window) : 0;
    std::vector<double> scores(p.ids.size(), -std::numeric_limits<double>::infinity());
    const double scale = 1 / std::sqrt(static_cast<double>(query.size()));
    for (int64_t i = begin; i < n; ++i) {
      double dot = 0;
      for (size_t d = 0; d < query.size(); ++d) {
        dot += static_cast<double>(query[d]) * keys[i * stride + static_cast<int64_t>(d)];
      }
      scores[static_cast<size_t>(i)] = dot * scale;
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) {
      score = std::exp(score - largest);
      sum += score;
    }
    for (size_t i = p.begin; i < p.end; ++i) {
      rows_[prompt][i - p.begin] += scores[i] / sum / static_cast<double>(heads_.size());
    }
  }

  const model::Llama& model_;
  const Sequences& sequences_;
  std::span<const RowPrompt> prompts_;
  std::span<const HeadChoice> heads_;
  model::PackedAttention path_;
  Tensor last_;
  Tensor key_table_;
  Tensor query_table_;
  std::vector<std::vector<double>> rows_;
};

std::vector<HeadChoice> chosen_heads(const model::ModelConfig& config,
                                     const AttentionRowOptions& options) {
  std::vector<HeadChoice> heads = options.heads;
  for (int32_t h = 0; options.heads.empty() && h < config.heads; ++h) {
    heads.push_back({static_cast<int32_t>(config.layers) - 1, h});
  }
  for (const HeadChoice& choice : heads) {
    OB_REQUIRE(choice.layer >= 0 && choice.layer < config.layers && choice.head >= 0 &&
                   choice.head < config.heads,
               InvalidArgument,
               "attention head {} of layer {}: the model has {} layers of {} heads", choice.head,
               choice.layer, config.layers, config.heads);
  }
  return heads;
}

Sequences pack(const model::ModelConfig& config, std::span<const RowPrompt> prompts) {
  Sequences out;
  for (const RowPrompt& prompt : prompts) {
    OB_REQUIRE(!prompt.ids.empty() && prompt.begin <= prompt.end && prompt.end <= prompt.ids.size(),
               InvalidArgument, "a prompt of {} tokens with a document at {}…{}", prompt.ids.size(),
               prompt.begin, prompt.end);
    OB_REQUIRE(static_cast<int64_t>(prompt.ids.size()) <= config.max_positions, InvalidArgument,
               "a prompt of {} tokens; the model's window is {}", prompt.ids.size(),
               config.max_positions);
    out.ids.insert(out.ids.end(), prompt.ids.begin(), prompt.ids.end());
    for (size_t i = 0; i < prompt.ids.size(); ++i) {
      out.positions.push_back(static_cast<int32_t>(i));
    }
    out.last_rows.push_back(static_cast<int32_t>(out.ids.size()) - 1);
    out.packed.push_back({.length = static_cast<int32_t>(prompt.ids.size())});
  }
  return out;
}

}  // namespace

std::vector<std::vector<double>> attention_rows(const backend::ExecutionContext& ctx,
                                                const model::Llama& model,
                                                std::span<const RowPrompt> prompts,
                                                const AttentionRowOptions& options) {
  const std::vector<HeadChoice> heads = chosen_heads(model.config(), options);
  if (prompts.empty()) {
    return {};
  }
  const Sequences sequences = pack(model.config(), prompts);
  backend::ArenaScope scope(*ctx.arena);
  RowRecorder path(ctx, model, sequences, prompts, heads);
  const Graph g{ctx};
  const Tensor ids =
      model::make_ints(ctx, sequences.ids, {static_cast<int64_t>(sequences.ids.size())});
  model.run(g, model.embed(g, ids, Dtype::f32), path, {});
  return path.take();
}

QuitoPrompt make_quito_prompt(const text::Tokenizer& tokenizer,
                              std::optional<text::ChatFormat> format, std::string_view document,
                              std::string_view question) {
  QuitoPrompt out;
  const std::string behind = fmt::format(" {}", question);
  // The document's own tokens, as they stand between the two cuts.
  const text::EncodeOptions plain{
      .add_special = false, .parse_added = false, .is_continuation = true};
  text::Encoding encoding = tokenizer.encode(document, plain);
  out.spans = std::move(encoding.spans);
  if (!format) {
    if (tokenizer.special().add_bos && tokenizer.special().bos) {
      out.row.ids.push_back(*tokenizer.special().bos);
    }
    out.row.begin = out.row.ids.size();
    out.row.ids.insert(out.row.ids.end(), encoding.ids.begin(), encoding.ids.end());
    out.row.end = out.row.ids.size();
    const std::vector<int32_t> ids = tokenizer.encode(behind, plain).ids;
    out.row.ids.insert(out.row.ids.end(), ids.begin(), ids.end());
    return out;
  }
  const text::ChatMessage message{
      .role = "user", .content = std::string(document) + behind, .cuts = {0, document.size()}};
  text::ChatPrompt prompt = text::render_chat(tokenizer, *format, std::span(&message, 1));
  out.row = {.ids = std::move(prompt.ids), .begin = prompt.cuts.at(0), .end = prompt.cuts.at(1)};
  // Formats that strip a message change a document with white space at its ends, and only there.
  OB_REQUIRE(out.row.end - out.row.begin == out.spans.size(), InvalidArgument,
             "a document with white space at its ends in a chat format that strips it");
  return out;
}

}  // namespace offbook::compress
