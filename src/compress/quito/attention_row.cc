#include "src/compress/quito/attention_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "src/backend/transfer.h"
#include "src/ops/registry.h"

namespace offbook::compress {
namespace {

using model::Graph;

using Floats = std::vector<float>;

// Prompts of a pass, or what of them stands behind the tokens that all begin with.
struct Sequences {
  struct Askers {
    int64_t first_row = 0;  // of the prompt, in ids
    size_t begin = 0;       // of the rows that ask, in asking_rows
    size_t end = 0;
  };
  std::vector<int32_t> ids;
  std::vector<int32_t> positions;
  std::vector<int32_t> asking_rows;  // of all prompts
  std::vector<Askers> askers;        // by prompt
  std::vector<model::PackedSequence> packed;
};

// The tokens that all prompts begin with, read.
struct Beginning {
  std::vector<int32_t> positions;
  model::LayerKv kv;
  std::map<int, Floats> keys;  // by layer, after RoPE: [n, kv_heads, dim]
};

// In four sums, so that an addition need not wait for the one before it.
double dot(const float* a, const float* b, int64_t n) {
  double sums[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int64_t k = 0; k < 4; ++k) {
      sums[k] += static_cast<double>(a[i + k]) * b[i + k];
    }
  }
  for (; i < n; ++i) {
    sums[0] += static_cast<double>(a[i]) * b[i];
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

Floats to_host(const Graph& g, const Tensor& x) {
  Tensor wide = x;
  if (x.dtype() != Dtype::f32) {
    wide = g.make(Dtype::f32, x.shape());
    ops::copy(g.ctx, {.x = x, .out = wide});
  }
  Floats out(static_cast<size_t>(x.numel()));
  backend::download(g.ctx, wide, std::as_writable_bytes(std::span(out)));
  return out;
}

// Lets a pass go on as it is, and computes the wanted rows of the wanted layers beside it.
class RowRecorder final : public model::AttentionPath {
 public:
  RowRecorder(const backend::ExecutionContext& ctx, const model::Llama& model,
              const Sequences& sequences, std::span<const RowPrompt> prompts,
              std::span<const HeadChoice> heads, const Beginning& beginning)
      : model_(model),
        sequences_(sequences),
        prompts_(prompts),
        heads_(heads),
        beginning_(beginning),
        path_(ctx, model.config(), model.inv_freq(),
              {.sequences = sequences.packed,
               .prefix = beginning.positions.empty() ? nullptr : &beginning.kv,
               .prefix_positions = beginning.positions,
               .positions = sequences.positions}),
        asking_(model::make_ints(ctx, sequences.asking_rows,
                                 {static_cast<int64_t>(sequences.asking_rows.size())})) {
    const float scale = model::rope_frequencies(model.config()).scale;
    key_table_ = model::make_rope_table(ctx, sequences.positions, model.inv_freq(), scale);
    std::vector<int32_t> asking_positions;
    for (const int32_t row : sequences.asking_rows) {
      asking_positions.push_back(sequences.positions[static_cast<size_t>(row)]);
    }
    query_table_ = model::make_rope_table(ctx, asking_positions, model.inv_freq(), scale);
    for (const RowPrompt& prompt : prompts) {
      rows_.emplace_back((prompt.end - prompt.begin) * heads.size(), 0.0);
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

  // Head after head.
  std::vector<std::vector<double>> take() { return std::move(rows_); }

 private:
  // A layer's queries of the asking rows and keys, after RoPE, on the host.
  struct LayerRows {
    int layer = 0;
    int64_t dim = 0, kv_heads = 0, heads = 0;
    Floats queries, keys;
    const float* begin_keys = nullptr;  // of the beginning
  };

  void record(const Graph& g, int layer, const Tensor& q, const Tensor& k) {
    LayerRows rows{.layer = layer, .dim = k.dim(2), .kv_heads = k.dim(1), .heads = q.dim(1)};
    rows.queries =
        to_host(g, autograd::rope(g, autograd::gather_rows(g, q, asking_), query_table_));
    rows.keys = to_host(g, autograd::rope(g, k, key_table_));
    if (const auto at = beginning_.keys.find(layer); at != beginning_.keys.end()) {
      rows.begin_keys = at->second.data();
    }
    g.ctx.pool->run(static_cast<int64_t>(prompts_.size()), [&](int64_t prompt) {
      for (size_t choice = 0; choice < heads_.size(); ++choice) {
        if (heads_[choice].layer == layer) {
          add_row(rows, choice, static_cast<size_t>(prompt));
        }
      }
    });
  }

  // A prompt's row of one head: the mean of what its asking tokens see.
  void add_row(const LayerRows& rows, size_t choice, size_t prompt) {
    const Sequences::Askers& askers = sequences_.askers[prompt];
    for (size_t asker = askers.begin; asker < askers.end; ++asker) {
      add_row_of(rows, choice, prompt, asker);
    }
  }

  void add_row_of(const LayerRows& rows, size_t choice, size_t prompt, size_t asker) {
    const RowPrompt& p = prompts_[prompt];
    const int32_t head = heads_[choice].head;
    const int64_t stride = rows.kv_heads * rows.dim;
    const int64_t at = head / (rows.heads / rows.kv_heads) * rows.dim;
    const auto before = static_cast<int64_t>(beginning_.positions.size());
    const int64_t first = sequences_.askers[prompt].first_row;
    const float* query =
        rows.queries.data() + (static_cast<int64_t>(asker) * rows.heads + head) * rows.dim;
    const int64_t n = sequences_.positions[static_cast<size_t>(sequences_.asking_rows[asker])] + 1;
    const int64_t window = model_.config().window(rows.layer);
    const int64_t begin = window > 0 ? std::max<int64_t>(0, n - window) : 0;
    std::vector<double> scores(static_cast<size_t>(n), -std::numeric_limits<double>::infinity());
    const double scale = 1 / std::sqrt(static_cast<double>(rows.dim));
    for (int64_t i = begin; i < n; ++i) {
      const float* key = i < before ? rows.begin_keys + i * stride + at
                                    : rows.keys.data() + (first + i - before) * stride + at;
      scores[static_cast<size_t>(i)] = dot(query, key, rows.dim) * scale;
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) {
      score = std::exp(score - largest);
      sum += score;
    }
    const Sequences::Askers& askers = sequences_.askers[prompt];
    const auto parts = static_cast<double>(askers.end - askers.begin);
    const size_t to = choice * (p.end - p.begin);
    for (size_t i = p.begin; i < p.end; ++i) {
      rows_[prompt][to + i - p.begin] += scores[i] / sum / parts;
    }
  }

  const model::Llama& model_;
  const Sequences& sequences_;
  std::span<const RowPrompt> prompts_;
  std::span<const HeadChoice> heads_;
  const Beginning& beginning_;
  model::PackedAttention path_;
  Tensor asking_;
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

void check_prompt(const model::ModelConfig& config, const RowPrompt& prompt) {
  OB_REQUIRE(!prompt.ids.empty() && prompt.begin <= prompt.end && prompt.end <= prompt.ids.size(),
             InvalidArgument, "a prompt of {} tokens with a document at {}…{}", prompt.ids.size(),
             prompt.begin, prompt.end);
  OB_REQUIRE(static_cast<int64_t>(prompt.ids.size()) <= config.max_positions, InvalidArgument,
             "a prompt of {} tokens; the model's window is {}", prompt.ids.size(),
             config.max_positions);
}

// Without the first `before` tokens of each, which stand in front as a prefix.
Sequences pack(std::span<const RowPrompt> prompts, size_t before, Asking asking) {
  Sequences out;
  for (const RowPrompt& prompt : prompts) {
    const size_t first_row = out.ids.size();
    for (size_t i = before; i < prompt.ids.size(); ++i) {
      out.ids.push_back(prompt.ids[i]);
      out.positions.push_back(static_cast<int32_t>(i));
    }
    const bool has_question = asking == Asking::question && prompt.question_end > prompt.end;
    const size_t begin = has_question ? prompt.end : prompt.ids.size() - 1;
    const size_t end = has_question ? prompt.question_end : prompt.ids.size();
    out.askers.push_back({static_cast<int64_t>(first_row), out.asking_rows.size(),
                          out.asking_rows.size() + end - begin});
    for (size_t i = begin; i < end; ++i) {
      out.asking_rows.push_back(static_cast<int32_t>(first_row + i - before));
    }
    out.packed.push_back({.length = static_cast<int32_t>(prompt.ids.size() - before),
                          .prefix_len = static_cast<int32_t>(before)});
  }
  return out;
}

Tensor embedded(const Graph& g, const model::Llama& model, std::span<const int32_t> ids) {
  return model.embed(g, model::make_ints(g.ctx, ids, {static_cast<int64_t>(ids.size())}),
                     g.ctx.activations());
}

std::vector<std::vector<double>> rows_of(const backend::ExecutionContext& ctx,
                                         const model::Llama& model,
                                         std::span<const RowPrompt> prompts,
                                         std::span<const HeadChoice> heads,
                                         const AttentionRowOptions& options,
                                         const Beginning& beginning) {
  const Sequences sequences = pack(prompts, beginning.positions.size(), options.asking);
  backend::ArenaScope scope(*ctx.arena);
  RowRecorder path(ctx, model, sequences, prompts, heads, beginning);
  const Graph g{ctx};
  model.run(g, embedded(g, model, sequences.ids), path, {});
  std::vector<std::vector<double>> rows = path.take();
  if (!options.keeps_heads_apart) {
    for (std::vector<double>& row : rows) {
      row = mean_of_heads(row, heads.size(), options.has_equal_heads);
    }
  }
  return rows;
}

// Its keys and values stand in the arena.
Beginning read_beginning(const backend::ExecutionContext& ctx, const model::Llama& model,
                         std::span<const int32_t> ids, std::span<const HeadChoice> heads) {
  Beginning out;
  for (size_t i = 0; i < ids.size(); ++i) {
    out.positions.push_back(static_cast<int32_t>(i));
  }
  const model::PackedSequence whole{.length = static_cast<int32_t>(ids.size())};
  model::PackedAttention path(
      ctx, model.config(), model.inv_freq(),
      {.sequences = std::span(&whole, 1), .positions = out.positions, .capture = out.positions});
  const Graph g{ctx};
  model.run(g, embedded(g, model, ids), path, {});
  out.kv = *path.kept();
  backend::ArenaScope scope(*ctx.arena);
  const Tensor table = model::make_rope_table(ctx, out.positions, model.inv_freq(),
                                              model::rope_frequencies(model.config()).scale);
  for (const HeadChoice& choice : heads) {
    Floats& keys = out.keys[choice.layer];
    if (keys.empty()) {
      keys = to_host(g, autograd::rope(g, out.kv.k[static_cast<size_t>(choice.layer)], table));
    }
  }
  return out;
}

}  // namespace

std::vector<double> mean_of_heads(std::span<const double> rows, size_t heads, bool are_equal) {
  const size_t n = rows.size() / heads;
  std::vector<double> mean(n);
  for (size_t h = 0; h < heads; ++h) {
    const std::span<const double> row = rows.subspan(h * n, n);
    const double sum = are_equal ? std::accumulate(row.begin(), row.end(), 0.0) : 1;
    const double parts = static_cast<double>(heads) * (sum > 0 ? sum : 1);
    for (size_t i = 0; i < n; ++i) {
      mean[i] += row[i] / parts;
    }
  }
  return mean;
}

std::vector<std::vector<double>> attention_rows(const backend::ExecutionContext& ctx,
                                                const model::Llama& model,
                                                std::span<const RowPrompt> prompts,
                                                const AttentionRowOptions& options) {
  const std::vector<HeadChoice> heads = chosen_heads(model.config(), options);
  for (const RowPrompt& prompt : prompts) {
    check_prompt(model.config(), prompt);
  }
  return prompts.empty() ? std::vector<std::vector<double>>{}
                         : rows_of(ctx, model, prompts, heads, options, {});
}

std::vector<std::vector<double>> attention_rows_behind(const backend::ExecutionContext& ctx,
                                                       const model::Llama& model,
                                                       std::span<const RowPrompt> prompts,
                                                       const AttentionRowOptions& options) {
  const std::vector<HeadChoice> heads = chosen_heads(model.config(), options);
  if (prompts.empty()) {
    return {};
  }
  const std::span<const int32_t> common(prompts.front().ids.data(), prompts.front().end);
  for (const RowPrompt& p : prompts) {
    check_prompt(model.config(), p);
    OB_REQUIRE(p.begin == prompts.front().begin && p.end == common.size() && !common.empty() &&
                   p.end < p.ids.size() && std::equal(common.begin(), common.end(), p.ids.begin()),
               InvalidArgument, "prompts that do not begin with the same {} tokens", common.size());
  }
  backend::ArenaScope scope(*ctx.arena);
  const Beginning beginning = read_beginning(ctx, model, common, heads);
  const auto most =
      static_cast<size_t>(ctx.device() == Device::cuda ? std::max(options.rows_per_pass, 1) : 1);
  std::vector<std::vector<double>> out;
  for (size_t begin = 0; begin < prompts.size();) {
    size_t end = begin;
    size_t rows = 0;
    do {
      rows += prompts[end].ids.size() - common.size();
      ++end;
    } while (end < prompts.size() && rows + prompts[end].ids.size() - common.size() <= most);
    for (auto& row :
         rows_of(ctx, model, prompts.subspan(begin, end - begin), heads, options, beginning)) {
      out.push_back(std::move(row));
    }
    begin = end;
  }
  return out;
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
  const std::vector<int32_t> question_ids = tokenizer.encode(behind, plain).ids;
  out.spans = std::move(encoding.spans);
  if (!format) {
    if (tokenizer.special().add_bos && tokenizer.special().bos) {
      out.row.ids.push_back(*tokenizer.special().bos);
    }
    out.row.begin = out.row.ids.size();
    out.row.ids.insert(out.row.ids.end(), encoding.ids.begin(), encoding.ids.end());
    out.row.end = out.row.ids.size();
    out.row.ids.insert(out.row.ids.end(), question_ids.begin(), question_ids.end());
    out.row.question_end = out.row.ids.size();
    return out;
  }
  const text::ChatMessage message{
      .role = "user", .content = std::string(document) + behind, .cuts = {0, document.size()}};
  text::ChatPrompt prompt = text::render_chat(tokenizer, *format, std::span(&message, 1));
  // Counted, since a cut behind the question would change the tokens there in some formats.
  const size_t question_end = std::min(prompt.cuts.at(1) + question_ids.size(), prompt.ids.size());
  out.row = {.ids = std::move(prompt.ids),
             .begin = prompt.cuts.at(0),
             .end = prompt.cuts.at(1),
             .question_end = question_end};
  // Formats that strip a message change a document with white space at its ends, and only there.
  OB_REQUIRE(out.row.end - out.row.begin == out.spans.size(), InvalidArgument,
             "a document with white space at its ends in a chat format that strips it");
  return out;
}

}  // namespace offbook::compress
