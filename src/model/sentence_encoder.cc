#include "src/model/sentence_encoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/backend/compute_device.h"
#include "src/backend/cpu/features.h"
#include "src/backend/transfer.h"
#include "src/model/adapter_device.h"
#include "src/model/attention_path.h"
#include "src/model/import/fingerprint.h"
#include "src/model/packed_file.h"
#include "src/model/packed_weights.h"
#include "src/ops/packed_linear/packed_linear.h"
#include "src/ops/registry.h"
#include "src/text/tokenizer_files.h"

namespace offbook::model {
namespace {

// Word pieces of one pass at most: 1,024 × 1,536 floats of the feed-forward layer are 6 MiB, which
// a CPU's last cache keeps. A GPU needs more rows to fill it.
constexpr int64_t kPassTokens = 1024;
constexpr int64_t kGpuPassTokens = 65'536;

struct Tokens {
  std::vector<int32_t> ids;
  size_t text;  // index of the caller's text
};

// A layer's matrices as packed_linear takes them.
struct PackedBertLayer {
  ops::PackedMatrix qkv, o, up, down;
  Tensor qkv_bias;
};

// Whether products take packed weights: not where the file's own are as good (AMX, the reference)
// or products must be exact.
bool takes_packed(const backend::ExecutionContext& ctx, const BertWeights& weights) {
  const bool is_vectorised =
      ctx.backend == backend::Backend::cpu_avx2 || ctx.backend == backend::Backend::cpu_avx512;
  return is_vectorised && ctx.compute == backend::Compute::bf16 &&
         !backend::detect_cpu_features().amx_bf16 &&
         std::all_of(weights.layers.begin(), weights.layers.end(), [](const BertLayerWeights& w) {
           return ops::is_packable(std::array{w.q, w.k, w.v}) &&
                  ops::is_packable(std::array{w.o}) && ops::is_packable(std::array{w.up}) &&
                  ops::is_packable(std::array{w.down});
         });
}

// make(matrices) gives each packed matrix, always in the same order.
template <typename Make>
std::vector<PackedBertLayer> assemble(const BertWeights& weights, const Make& make) {
  std::vector<PackedBertLayer> out;
  for (const BertLayerWeights& w : weights.layers) {
    PackedBertLayer layer;
    layer.qkv = make(std::array{w.q, w.k, w.v});
    layer.o = make(std::array{w.o});
    layer.up = make(std::array{w.up});
    layer.down = make(std::array{w.down});
    layer.qkv_bias = joined(w.q_bias, w.k_bias, w.v_bias);
    out.push_back(std::move(layer));
  }
  return out;
}

std::vector<PackedBertLayer> pack(const backend::ExecutionContext& ctx,
                                  const BertWeights& weights) {
  return assemble(weights, [&](std::span<const Tensor> m) { return ops::pack_rows(*ctx.pool, m); });
}

std::vector<PackedBertLayer> load_packed(FileSystem& fs, const std::filesystem::path& path,
                                         const std::string& fingerprint,
                                         const BertWeights& weights) {
  try {
    PackedReader reader(fs, path, fingerprint);
    return assemble(
        weights, [&](std::span<const Tensor> m) { return reader.next(m, PackedOrder::stacked); });
  } catch (const Error&) {
    return {};  // missing, damaged or of other weights: made again
  }
}

// From the cache, into which they are put when they are not there.
std::vector<PackedBertLayer> cached_pack(FileSystem& fs, const std::filesystem::path& directory,
                                         const std::string& fingerprint,
                                         const backend::ExecutionContext& ctx,
                                         const BertWeights& weights) {
  const std::filesystem::path path = directory / (fingerprint + ".packed");
  auto packed = load_packed(fs, path, fingerprint, weights);
  if (!packed.empty()) {
    return packed;
  }
  packed = pack(ctx, weights);
  std::vector<const ops::PackedMatrix*> matrices;
  for (const PackedBertLayer& w : packed) {
    matrices.insert(matrices.end(), {&w.qkv, &w.o, &w.up, &w.down});
  }
  try {
    fs.create_directories(directory);
    write_packed(fs, path, fingerprint, matrices);
  } catch (const Error&) {
    // Then the next start packs again.
  }
  return packed;
}

}  // namespace

struct SentenceEncoder::Impl {
  EncoderConfig config;
  BertWeights weights;
  std::vector<PackedBertLayer> packed;  // empty or one a layer
  std::unique_ptr<text::Tokenizer> tokenizer;
  backend::Arena arena;
  backend::ExecutionContext ctx;

  explicit Impl(const backend::ExecutionContext& where)
      : arena(where.arena == nullptr ? backend::Arena() : backend::arena_like(where)),
        ctx{.backend = where.backend,
            .compute = where.compute,
            .pool = where.pool,
            .arena = &arena,
            .cuda = where.cuda,
            .profile = where.profile} {}

  int64_t pass_tokens() const {
    return ctx.device() == Device::cuda ? kGpuPassTokens : kPassTokens;
  }

  void move_weights() {
    const auto move = [&](Tensor& t) { t = backend::to_device(ctx, t); };
    for (Tensor* t : {&weights.word_embedding, &weights.position_embedding, &weights.type_embedding,
                      &weights.embedding_norm, &weights.embedding_norm_bias}) {
      move(*t);
    }
    for (BertLayerWeights& w : weights.layers) {
      for (Tensor* t : {&w.q, &w.k, &w.v, &w.o, &w.q_bias, &w.k_bias, &w.v_bias, &w.o_bias,
                        &w.attn_norm, &w.attn_norm_bias, &w.up, &w.up_bias, &w.down, &w.down_bias,
                        &w.ffn_norm, &w.ffn_norm_bias}) {
        move(*t);
      }
    }
  }

  Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) const {
    const Tensor out = ctx.make(Dtype::f32, {x.dim(0), weight.dim(0)});
    ops::linear(ctx, {.x = x, .weight = weight, .bias = bias, .out = out});
    return out;
  }

  Tensor norm(const Tensor& x, const Tensor& residual, const Tensor& weight,
              const Tensor& bias) const {
    const Tensor out = ctx.make(Dtype::f32, x.shape());
    norm_to(x, residual, weight, bias, out);
    return out;
  }

  void norm_to(const Tensor& x, const Tensor& residual, const Tensor& weight, const Tensor& bias,
               const Tensor& out) const {
    ops::layer_norm(ctx, {.x = x,
                          .residual = residual,
                          .weight = weight,
                          .bias = bias,
                          .eps = config.layer_norm_eps,
                          .out = out});
  }

  Tensor rows_of(const Tensor& table, const Tensor& ids) const {
    const Tensor out = ctx.make(Dtype::f32, {ids.dim(0), table.dim(1)});
    ops::embedding(ctx, {.ids = ids, .table = table, .out = out});
    return out;
  }

  // Word, position and type embeddings, normalised.
  Tensor embed(std::span<const int32_t> ids, std::span<const int32_t> positions) const {
    const auto n = static_cast<int64_t>(ids.size());
    const Tensor words = rows_of(weights.word_embedding, make_ints(ctx, ids, {n}));
    const Tensor places = rows_of(weights.position_embedding, make_ints(ctx, positions, {n}));
    const Tensor types =
        rows_of(weights.type_embedding, make_ints(ctx, std::vector<int32_t>(ids.size(), 0), {n}));
    ops::add(ctx, {.a = words, .b = places, .out = words});
    return norm(words, types, weights.embedding_norm, weights.embedding_norm_bias);
  }

  Tensor product(const Tensor& x, const ops::PackedMatrix& weight, const Tensor& bias,
                 ops::PackedEnd end = ops::PackedEnd::plain) const {
    const Tensor out = ctx.make(Dtype::f32, {x.dim(0), weight.rows});
    ops::packed_linear(ctx, {.x = x, .matrix = &weight, .bias = bias, .end = end, .out = out});
    return out;
  }

  struct Heads {
    Tensor q, k, v;  // [n, heads, head_dim]
  };

  Heads heads(size_t index, const Tensor& x) const {
    const BertLayerWeights& w = weights.layers[index];
    const int64_t head_dim = config.hidden / config.heads;
    if (packed.empty()) {
      return {linear(x, w.q, w.q_bias).split_axis(1, head_dim),
              linear(x, w.k, w.k_bias).split_axis(1, head_dim),
              linear(x, w.v, w.v_bias).split_axis(1, head_dim)};
    }
    const Tensor all = product(x, packed[index].qkv, packed[index].qkv_bias);
    const auto part = [&](int64_t i) {
      return all.slice(1, i * config.hidden, (i + 1) * config.hidden).split_axis(1, head_dim);
    };
    return {part(0), part(1), part(2)};
  }

  // x → out. Everything between lies in the arena until the next layer, which takes the same place.
  void layer(size_t index, const Tensor& x, const Tensor& sequences, int32_t longest,
             const Tensor& out) {
    backend::ArenaScope scope(arena);
    const BertLayerWeights& w = weights.layers[index];
    const int64_t head_dim = config.hidden / config.heads;
    const bool is_packed = !packed.empty();
    const Tensor attended = ctx.make(Dtype::f32, x.shape());
    const Heads h = heads(index, x);
    ops::attention(ctx, {.q = h.q,
                         .k = h.k,
                         .v = h.v,
                         .sequences = sequences,
                         .max_length = longest,
                         .mask = ops::Mask::full,
                         .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                         .out = attended.split_axis(1, head_dim)});
    const Tensor o =
        is_packed ? product(attended, packed[index].o, w.o_bias) : linear(attended, w.o, w.o_bias);
    const Tensor middle = norm(o, x, w.attn_norm, w.attn_norm_bias);
    const Tensor inner = is_packed
                             ? product(middle, packed[index].up, w.up_bias, ops::PackedEnd::gelu)
                             : linear(middle, w.up, w.up_bias);
    if (!is_packed) {
      ops::gelu(ctx, {.x = inner, .out = inner});
    }
    const Tensor down = is_packed ? product(inner, packed[index].down, w.down_bias)
                                  : linear(inner, w.down, w.down_bias);
    norm_to(down, middle, w.ffn_norm, w.ffn_norm_bias, out);
  }

  // Encodes a run of token lists in one pass, into the rows of `out` that they name.
  void encode_pass(std::span<const Tokens> batch, const Tensor& out) {
    arena.rewind({});
    std::vector<int32_t> ids;
    std::vector<int32_t> positions;
    std::vector<int32_t> sequences;
    std::vector<int32_t> offsets{0};
    int32_t longest = 0;
    for (const Tokens& tokens : batch) {
      const auto n = static_cast<int32_t>(tokens.ids.size());
      const auto begin = static_cast<int32_t>(ids.size());
      ids.insert(ids.end(), tokens.ids.begin(), tokens.ids.end());
      for (int32_t i = 0; i < n; ++i) {
        positions.push_back(i);
      }
      sequences.insert(sequences.end(), {begin, n, begin, 0, 0});
      offsets.push_back(begin + n);
      longest = std::max(longest, n);
    }
    const auto texts = static_cast<int64_t>(batch.size());
    const Tensor table = make_ints(ctx, sequences, {texts, ops::kAttentionSequenceFields});
    Tensor x = embed(ids, positions);
    const Tensor results[2] = {ctx.make(Dtype::f32, x.shape()), ctx.make(Dtype::f32, x.shape())};
    for (size_t i = 0; i < weights.layers.size(); ++i) {
      layer(i, x, table, longest, results[i % 2]);
      x = results[i % 2];
    }
    const Tensor vectors = ctx.make(Dtype::f32, {texts, config.hidden});
    ops::segment_mean(ctx, {.x = x,
                            .offsets = make_ints(ctx, offsets, {texts + 1}),
                            .l2_normalise = true,
                            .out = vectors});
    const Tensor here = on_host(ctx, vectors);
    for (int64_t i = 0; i < texts; ++i) {
      std::copy_n(here.data<float>() + i * config.hidden, config.hidden,
                  out.data<float>() +
                      static_cast<int64_t>(batch[static_cast<size_t>(i)].text) * config.hidden);
    }
  }
};

SentenceEncoder::SentenceEncoder(FileSystem& fs, const std::filesystem::path& directory,
                                 backend::ThreadPool& pool, backend::Backend backend,
                                 backend::Compute compute)
    : SentenceEncoder(fs, directory, {.backend = backend, .compute = compute, .pool = &pool}) {}

SentenceEncoder::SentenceEncoder(FileSystem& fs, const std::filesystem::path& directory,
                                 const backend::ExecutionContext& where,
                                 const std::optional<std::filesystem::path>& cache)
    : impl_(std::make_unique<Impl>(where)) {
  impl_->config = read_encoder_config(fs, directory);
  OB_REQUIRE(impl_->config.is_normalized, Unsupported,
             "{}: only encoders whose vectors have length 1 are supported", directory.string());
  impl_->weights = load_bert_weights(*SafetensorsModel::open(fs, directory), impl_->config);
  impl_->move_weights();
  impl_->tokenizer = text::load_tokenizer(fs, directory).tokenizer;
  if (takes_packed(impl_->ctx, impl_->weights)) {
    impl_->packed = cache ? cached_pack(fs, *cache, encoder_fingerprint(fs, directory, cache).model,
                                        impl_->ctx, impl_->weights)
                          : pack(impl_->ctx, impl_->weights);
  }
}

SentenceEncoder::~SentenceEncoder() = default;

int64_t SentenceEncoder::dim() const {
  return impl_->config.hidden;
}
int32_t SentenceEncoder::window() const {
  return static_cast<int32_t>(impl_->config.max_tokens);
}
const text::Tokenizer& SentenceEncoder::tokenizer() const {
  return *impl_->tokenizer;
}

Tensor SentenceEncoder::encode(std::span<const std::string_view> texts) {
  std::vector<Tokens> all(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    all[i] = {impl_->tokenizer->encode(texts[i]).ids, i};
    OB_REQUIRE(static_cast<int32_t>(all[i].ids.size()) <= window(), InvalidArgument,
               "a text of {} word pieces is longer than the encoder's window of {}",
               all[i].ids.size(), window());
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Tokens& a, const Tokens& b) { return a.ids.size() < b.ids.size(); });
  const Tensor out = Tensor::empty(Dtype::f32, {static_cast<int64_t>(texts.size()), dim()});
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin;
    int64_t tokens = 0;
    while (end < all.size() &&
           (end == begin ||
            tokens + static_cast<int64_t>(all[end].ids.size()) <= impl_->pass_tokens())) {
      tokens += static_cast<int64_t>(all[end].ids.size());
      ++end;
    }
    impl_->encode_pass(std::span(all).subspan(begin, end - begin), out);
    begin = end;
  }
  return out;
}

}  // namespace offbook::model
