#include "src/model/decoder.h"

#include <algorithm>
#include <cmath>

#include "src/backend/compute_device.h"
#include "src/backend/transfer.h"
#include "src/model/adapter_device.h"
#include "src/ops/registry.h"

namespace offbook::model {
namespace {

int32_t rows_of(const Append& a) {
  return a.soft_tokens.defined() ? static_cast<int32_t>(a.soft_tokens.dim(0))
                                 : static_cast<int32_t>(a.tokens.size());
}

// Keys and values of a pass go into the cache and are read back from it with everything before
// them.
class CachedAttention final : public AttentionPath {
 public:
  CachedAttention(const ModelConfig& config, CachedRows rows)
      : config_(config), rows_(std::move(rows)) {}

  Tensor attend(const Graph& g, int layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override {
    ops::kv_write(g.ctx, {.k = k,
                          .v = v,
                          .table = rows_.table,
                          .slots = rows_.slots,
                          .k_pages = rows_.cache->k(layer),
                          .v_pages = rows_.cache->v(layer),
                          .q = q});
    const Tensor out = g.make(q.dtype(), q.shape());
    ops::paged_attention(g.ctx, {.q = q,
                                 .k_pages = rows_.cache->k(layer),
                                 .v_pages = rows_.cache->v(layer),
                                 .page_list = rows_.page_list,
                                 .sequences = rows_.sequences,
                                 .max_length = rows_.max_length,
                                 .max_kv_length = rows_.max_kv_length,
                                 .window = static_cast<int32_t>(config_.window(layer)),
                                 .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
                                 .first_page = rows_.first_page,
                                 .out = out});
    return out;
  }
  const CachedRows* cached() const override { return &rows_; }

 private:
  const ModelConfig& config_;
  CachedRows rows_;
};

}  // namespace

Decoder::Decoder(backend::ThreadPool& pool, const Llama& model, const Options& options)
    : Decoder({.backend = options.backend, .compute = options.compute, .pool = &pool}, model,
              options) {}

Decoder::Decoder(const backend::ExecutionContext& where, const Llama& model, const Options& options)
    : model_(model),
      options_(options),
      arena_(where.arena == nullptr ? backend::Arena() : backend::arena_like(where)),
      ctx_{.backend = where.backend,
           .compute = where.compute,
           .pool = where.pool,
           .arena = &arena_,
           .cuda = where.cuda,
           .profile = where.profile},
      cache_(ctx_, model.config(), options.cache_tokens, options.cache),
      rope_scale_(rope_frequencies(model.config()).scale) {
  OB_REQUIRE(options.prefill_rows >= 1, InvalidArgument, "a pass has at least one row, not {}",
             options.prefill_rows);
}

Decoder::Options Decoder::options_for(const backend::ExecutionContext& where,
                                      int64_t cache_tokens) {
  constexpr int32_t kGpuRows = 16'384;
  Options out{.backend = where.backend,
              .compute = where.compute,
              .activations = where.activations(),
              .cache_tokens = cache_tokens};
  if (where.device() == Device::cuda) {
    out.prefill_rows = kGpuRows;
  }
  if (where.compute == backend::Compute::f32) {
    out.cache = Dtype::f32;
  }
  return out;
}

const LoraAdapter* Decoder::there(const LoraAdapter* adapter) {
  if (adapter == nullptr || ctx_.device() == Device::cpu) {
    return adapter;
  }
  if (std::erase_if(uploaded_, [](const Uploaded& u) { return u.original.expired(); }) > 0) {
    recorded_.clear();  // some may read what is gone
  }
  for (const auto& layer : adapter->layers) {
    for (const LoraPair& pair : layer) {
      if (!pair.a.defined()) {
        continue;
      }
      const std::shared_ptr<Storage>& original = pair.a.storage();
      for (const Uploaded& u : uploaded_) {
        if (u.original.lock() == original) {
          return u.copy.get();
        }
      }
      uploaded_.push_back({original, std::make_unique<LoraAdapter>(on_device(ctx_, *adapter))});
      return uploaded_.back().copy.get();
    }
  }
  return nullptr;  // an adapter without factors
}

void Decoder::check(std::span<const Append> appends) const {
  const ModelConfig& config = model_.config();
  OB_REQUIRE(!appends.empty(), InvalidArgument, "nothing to append");
  for (const Append& a : appends) {
    const int32_t rows = rows_of(a);
    OB_REQUIRE(a.sequence != nullptr && rows > 0, InvalidArgument,
               "an append has a sequence and at least one row");
    OB_REQUIRE(a.logit_rows >= 1 && a.logit_rows <= rows, InvalidArgument,
               "logits of {} rows of {}", a.logit_rows, rows);
    OB_REQUIRE(a.sequence->next_position() + rows <= config.max_positions, InvalidArgument,
               "{} tokens behind {} do not fit the model's window of {}", rows,
               a.sequence->next_position(), config.max_positions);
    OB_REQUIRE(!a.soft_tokens.defined() ||
                   (a.soft_tokens.rank() == 2 && a.soft_tokens.dim(1) == config.hidden),
               InvalidArgument, "soft tokens are [n, {}], not {}", config.hidden,
               to_string(a.soft_tokens));
    for (const int32_t id : a.tokens) {
      OB_REQUIRE(id >= 0 && id < config.vocab_size, InvalidArgument,
                 "token {} is outside a vocabulary of {}", id, config.vocab_size);
    }
  }
}

Tensor Decoder::append(std::span<const Append> appends) {
  check(appends);
  int32_t rows = 0;
  for (const Append& a : appends) {
    rows += rows_of(a);
  }
  arena_.rewind({});
  if (rows <= options_.prefill_rows || rows == static_cast<int32_t>(appends.size())) {
    return run_pass(appends, false);
  }
  OB_REQUIRE(std::all_of(appends.begin(), appends.end(),
                         [](const Append& a) { return a.logit_rows == 1; }),
             InvalidArgument,
             "logits of several rows of an append in a pass of {} rows, at most {}", rows,
             options_.prefill_rows);
  // Too long for one pass: each append runs in pieces, and its logits are kept in front of the
  // arena.
  int64_t wanted =
      std::count_if(appends.begin(), appends.end(), [](const Append& a) { return a.wants_logits; });
  const Tensor all = ctx_.make(Dtype::f32, {wanted, model_.config().vocab_size});
  int64_t next = 0;
  for (const Append& a : appends) {
    for (int32_t begin = 0; begin < rows_of(a); begin += options_.prefill_rows) {
      const int32_t end = std::min(begin + options_.prefill_rows, rows_of(a));
      Append piece = a;
      if (a.soft_tokens.defined()) {
        piece.soft_tokens = a.soft_tokens.slice(0, begin, end);
      } else {
        piece.tokens =
            a.tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
      }
      piece.wants_logits = a.wants_logits && end == rows_of(a);
      backend::ArenaScope scope(arena_);
      const Tensor logits = run_pass(std::span(&piece, 1), false);
      if (piece.wants_logits) {
        ops::copy(ctx_, {.x = logits, .out = all.slice(0, next, next + 1)});
        ++next;
      }
    }
  }
  return all;
}

Tensor Decoder::hidden_states(const Append& one) {
  check(std::span(&one, 1));
  arena_.rewind({});
  return run_pass(std::span(&one, 1), true);
}

// Lists of the appends' rows, and which adapters they have.
void Decoder::gather_inputs(std::span<const Append> appends) {
  inputs_.clear();
  adapters_.clear();
  for (const Append& a : appends) {
    const int32_t n = rows_of(a);
    const LoraAdapter* const mine = there(a.adapter);
    const auto known = std::find(adapters_.begin(), adapters_.end(), mine);
    const auto adapter = static_cast<int32_t>(known - adapters_.begin());
    if (known == adapters_.end()) {
      adapters_.push_back(mine);
    }
    inputs_.add(ctx_, *a.sequence, n, adapter);
    if (a.soft_tokens.defined()) {
      inputs_.ids.insert(inputs_.ids.end(), static_cast<size_t>(n),
                         0);  // vectors stand in for them
    } else {
      inputs_.ids.insert(inputs_.ids.end(), a.tokens.begin(), a.tokens.end());
    }
    const auto end = static_cast<int32_t>(inputs_.ids.size());
    for (int32_t i = a.wants_logits ? end - a.logit_rows : end; i < end; ++i) {
      inputs_.last_rows.push_back(i);
    }
  }
}

Decoder::PassShape Decoder::shape_of_inputs() const {
  return {.max_length = inputs_.max_length,
          .max_kv_length = inputs_.max_kv_length,
          .has_adapters = std::any_of(adapters_.begin(), adapters_.end(),
                                      [](const auto* a) { return a != nullptr; })};
}

Tensor Decoder::hidden_of(const PassInputs::Views& in, const PassShape& shape, const Tensor& x) {
  const Tensor table = ctx_.make(Dtype::f32, {in.positions.dim(0), 2 * model_.inv_freq().dim(0)});
  ops::rope_table(ctx_, {.positions = in.positions,
                         .inv_freq = model_.inv_freq(),
                         .scale = rope_scale_,
                         .out = table});
  CachedAttention path(model_.config(), {.cache = &cache_,
                                         .table = table,
                                         .slots = in.slots,
                                         .page_list = in.page_list,
                                         .sequences = in.sequences,
                                         .max_length = shape.max_length,
                                         .max_kv_length = shape.max_kv_length,
                                         .first_page = shape.first_page});
  PassOptions options;
  if (shape.has_adapters) {
    options.adapters.several = adapters_;
    options.adapters.adapter_of_row = in.adapter_of_row;
  }
  return model_.run(Graph{ctx_}, x, path, options);
}

Tensor Decoder::logits_of(const PassInputs::Views& in, const Tensor& hidden) {
  const Tensor last = ctx_.make(hidden.dtype(), {in.last_rows.dim(0), hidden.dim(1)});
  ops::gather_rows(ctx_, {.x = hidden, .index = in.last_rows, .out = last});
  return model_.logits(ctx_, last);
}

Tensor Decoder::run_pass(std::span<const Append> appends, bool all_rows) {
  gather_inputs(appends);
  const auto pages = static_cast<int64_t>(inputs_.page_list.size());
  const PassInputs::Views in =
      inputs_.fill(ctx_, ctx_.make(Dtype::i32, {inputs_.block_size(pages)}), pages);
  const Tensor x = model_.embed(Graph{ctx_}, in.ids, options_.activations);
  for (size_t i = 0; i < appends.size(); ++i) {
    if (appends[i].soft_tokens.defined()) {
      const int32_t begin = inputs_.sequences[i * ops::kPagedSequenceFields];
      ops::copy(ctx_, {.x = backend::to_device(ctx_, appends[i].soft_tokens),
                       .out = x.slice(0, begin, begin + rows_of(appends[i]))});
    }
  }
  PassShape shape = shape_of_inputs();
  shape.first_page = inputs_.lone_pages();
  const Tensor hidden = hidden_of(in, shape, x);
  if (all_rows) {
    const Tensor out = ctx_.make(Dtype::f32, hidden.shape());
    ops::copy(ctx_, {.x = hidden, .out = out});
    return out;
  }
  return logits_of(in, hidden);
}

void Decoder::attach(Sequence& sequence, const Tensor& kv) {
  const ModelConfig& config = model_.config();
  OB_REQUIRE(kv.rank() == 5 && kv.dim(0) == config.layers && kv.dim(1) == 2 &&
                 kv.dim(3) == config.kv_heads && kv.dim(4) == config.head_dim,
             InvalidArgument, "a KV prefix for this model is [{}, 2, n, {}, {}], not {}",
             config.layers, config.kv_heads, config.head_dim, to_string(kv));
  const auto n = static_cast<int32_t>(kv.dim(2));
  if (n == 0) {
    return;
  }
  OB_REQUIRE(sequence.next_position() + n <= config.max_positions, InvalidArgument,
             "{} slots behind {} do not fit the model's window of {}", n, sequence.next_position(),
             config.max_positions);
  arena_.rewind({});
  inputs_.clear();
  inputs_.add(ctx_, sequence, n, 0);
  const Tensor table = make_rope_table(ctx_, inputs_.positions, model_.inv_freq(), rope_scale_);
  const Tensor slots = make_ints(ctx_, inputs_.slots, {n});
  const Tensor there = backend::to_device(ctx_, kv);
  for (int layer = 0; layer < config.layers; ++layer) {
    const Tensor both = there.slice(0, layer, layer + 1);
    const Shape rows{n, config.kv_heads, config.head_dim};
    ops::kv_write(ctx_, {.k = both.slice(1, 0, 1).reshape(rows),
                         .v = both.slice(1, 1, 2).reshape(rows),
                         .table = table,
                         .slots = slots,
                         .k_pages = cache_.k(layer),
                         .v_pages = cache_.v(layer)});
  }
}

}  // namespace offbook::model
