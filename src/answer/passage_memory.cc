#include "src/answer/passage_memory.h"

#include <utility>

#include "src/base/error.h"
#include "src/ops/registry.h"
#include "src/store/hash.h"

namespace offbook::answer {
namespace {

// Raised whenever the same tokens would give other keys and values than before.
constexpr const char* kVersion = "passage kv 1";

std::span<const std::byte> bytes_of(std::span<const int32_t> tokens) {
  return std::as_bytes(tokens);
}

// Part `which` (0 keys, 1 values) of a layer: [n, kv_head, head_dim].
Tensor part_of(const Tensor& kv, int64_t layer, int64_t which) {
  const Tensor both = kv.slice(0, layer, layer + 1);
  return both.slice(1, which, which + 1).reshape({kv.dim(2), kv.dim(3), kv.dim(4)});
}

// Stored keys and values as a pass takes them, in ctx's arena.
model::LayerKv widened(const backend::ExecutionContext& ctx, const Tensor& kv) {
  model::LayerKv out;
  for (int64_t layer = 0; layer < kv.dim(0); ++layer) {
    for (int64_t which = 0; which < 2; ++which) {
      const Tensor from = part_of(kv, layer, which);
      const Tensor to = ctx.make(Dtype::f32, from.shape());
      ops::copy(ctx, {.x = from, .out = to});
      (which == 0 ? out.k : out.v).push_back(to);
    }
  }
  return out;
}

}  // namespace

PassageMemory::PassageMemory(const model::Llama& llama, Fingerprint fingerprint,
                             const backend::ExecutionContext& ctx, store::Shelf* shelf)
    : llama_(llama),
      fingerprint_(std::move(fingerprint)),
      ctx_{.backend = ctx.backend,
           .compute = ctx.compute,
           .pool = ctx.pool,
           .arena = &arena_,
           .profile = ctx.profile},
      shelf_(shelf) {
  OB_REQUIRE(ctx.device() == Device::cpu, Unsupported, "passages are read apart on the CPU only");
}

std::string PassageMemory::key_of(std::span<const int32_t> beginning,
                                  std::span<const int32_t> tokens, const Reader& reader) const {
  store::Hasher hasher;
  hasher.add_text(kVersion).add_text(fingerprint_.model).add_text(reader.adapter_id);
  hasher.add_text(std::to_string(beginning.size())).add(bytes_of(beginning)).add(bytes_of(tokens));
  return store::to_hex(hasher.digest());
}

store::Artefact PassageMemory::as_artefact(const Tensor& kv, store::KvPrecision precision) const {
  const auto tokens = static_cast<int>(kv.dim(2));
  return store::to_artefact({.method = "raw",
                             .base = fingerprint_,
                             .kind = ContextKind::kv_prefix,
                             .kv = kv,
                             .slot_spans = std::vector<ByteSpan>(static_cast<size_t>(tokens)),
                             .tokens_before = tokens,
                             .tokens_after = tokens},
                            0, precision);
}

Tensor PassageMemory::stored(const store::ShelfPlace& place) const {
  const auto artefact =
      shelf_ != nullptr ? shelf_->get(place, store::ArtefactKind::context) : std::nullopt;
  if (!artefact) {
    return {};
  }
  try {
    return store::to_context(*artefact, 0).kv;
  } catch (const Error&) {
    return {};  // a sound file that holds something else: made again
  }
}

// Each text behind the same beginning (undefined: at the very front), in one pass.
std::vector<Tensor> PassageMemory::compute(const Tensor& beginning,
                                           std::span<const std::span<const int32_t>> texts,
                                           const model::LoraAdapter* adapter) {
  const model::ModelConfig& config = llama_.config();
  backend::ArenaScope scope(arena_);
  const auto before = static_cast<int32_t>(beginning.defined() ? beginning.dim(2) : 0);
  std::vector<int32_t> ids, positions, keep;
  std::vector<model::PackedSequence> sequences;
  for (const std::span<const int32_t> text : texts) {
    const auto n = static_cast<int32_t>(text.size());
    for (int32_t i = 0; i < n; ++i) {
      keep.push_back(static_cast<int32_t>(ids.size()));
      ids.push_back(text[static_cast<size_t>(i)]);
      positions.push_back(before + i);
    }
    sequences.push_back({.length = n, .prefix_len = before});
  }
  std::vector<int32_t> prefix_positions(static_cast<size_t>(before));
  for (int32_t i = 0; i < before; ++i) {
    prefix_positions[static_cast<size_t>(i)] = i;
  }
  const model::LayerKv prefix = beginning.defined() ? widened(ctx_, beginning) : model::LayerKv{};
  model::PackedAttention path(ctx_, config, llama_.inv_freq(),
                              {.sequences = sequences,
                               .prefix = before > 0 ? &prefix : nullptr,
                               .prefix_positions = prefix_positions,
                               .positions = positions,
                               .capture = keep});
  const auto rows = static_cast<int64_t>(ids.size());
  model::PassOptions options;
  if (adapter != nullptr) {
    options.adapters.several = std::span(&adapter, 1);
    options.adapters.adapter_of_row =
        model::make_ints(ctx_, std::vector<int32_t>(ids.size(), 0), {rows});
  }
  const model::Graph g{ctx_};
  llama_.run(g, llama_.embed(g, model::make_ints(ctx_, ids, {rows}), Dtype::f32), path, options);
  std::vector<Tensor> out;
  int64_t at = 0;
  for (const std::span<const int32_t> text : texts) {
    const auto n = static_cast<int64_t>(text.size());
    const Tensor kv =
        Tensor::empty(Dtype::bf16, {config.layers, 2, n, config.kv_heads, config.head_dim});
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const auto l = static_cast<size_t>(layer);
      ops::copy(ctx_, {.x = path.kept()->k[l].slice(0, at, at + n), .out = part_of(kv, layer, 0)});
      ops::copy(ctx_, {.x = path.kept()->v[l].slice(0, at, at + n), .out = part_of(kv, layer, 1)});
    }
    out.push_back(kv);
    at += n;
  }
  return out;
}

Tensor PassageMemory::beginning(std::span<const int32_t> tokens, const Reader& reader) {
  OB_REQUIRE(!tokens.empty(), InvalidArgument, "a prompt begins with at least one token");
  store::ShelfPlace place{0, key_of({}, tokens, reader)};
  if (place.key == last_key_) {
    return last_;
  }
  last_ = stored(place);
  last_key_ = place.key;
  if (!last_.defined()) {
    last_ = compute({}, std::span(&tokens, 1), reader.adapter).front();
    if (shelf_ != nullptr) {
      made_.push_back({std::move(place), as_artefact(last_, store::KvPrecision::as_made)});
    }
  }
  return last_;
}

std::vector<Tensor> PassageMemory::passages(std::span<const int32_t> beginning,
                                            std::span<const ApartPassage> passages,
                                            const Reader& reader) {
  std::vector<Tensor> out(passages.size());
  std::vector<store::ShelfPlace> places;
  std::vector<size_t> missing;
  for (size_t i = 0; i < passages.size(); ++i) {
    const ApartPassage& p = passages[i];
    places.push_back({p.document, key_of(beginning, p.tokens, reader)});
    out[i] = stored(places[i]);
    if (out[i].defined()) {
      ++counts_.found;
      counts_.found_tokens += static_cast<int>(p.tokens.size());
    } else {
      missing.push_back(i);
    }
  }
  if (missing.empty()) {
    return out;
  }
  const Tensor before = this->beginning(beginning, reader);
  for (size_t begin = 0; begin < missing.size();) {
    std::vector<std::span<const int32_t>> texts;
    int64_t rows = 0;
    while (begin + texts.size() < missing.size()) {
      const auto& tokens = passages[missing[begin + texts.size()]].tokens;
      if (!texts.empty() && rows + std::ssize(tokens) > kPassTokens) {
        break;
      }
      rows += std::ssize(tokens);
      texts.push_back(tokens);
    }
    const std::vector<Tensor> computed = compute(before, texts, reader.adapter);
    for (size_t i = 0; i < texts.size(); ++i) {
      const size_t at = missing[begin + i];
      store::Artefact artefact = as_artefact(computed[i], store::KvPrecision::eight_bits);
      out[at] = store::to_context(artefact, 0).kv;
      ++counts_.computed;
      counts_.computed_tokens += static_cast<int>(texts[i].size());
      if (shelf_ != nullptr) {
        made_.push_back({places[at], std::move(artefact)});
      }
    }
    begin += texts.size();
  }
  return out;
}

void PassageMemory::store_made() {
  if (shelf_ != nullptr) {
    shelf_->put_all(std::exchange(made_, {}));
  }
}

}  // namespace offbook::answer
