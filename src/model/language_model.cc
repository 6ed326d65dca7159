#include "src/model/language_model.h"

#include <functional>

#include "src/backend/transfer.h"
#include "src/model/import/fingerprint.h"
#include "src/model/import/tokenizer_source.h"

namespace offbook::model {

namespace {

// A context for converting weights, of a CPU's threads.
struct CpuContext {
  backend::Arena arena;
  backend::ExecutionContext ctx;
  CpuContext(backend::ThreadPool& pool, const LanguageModelOptions& options)
      : ctx{.backend = options.backend,
            .compute = options.compute,
            .pool = &pool,
            .arena = &arena} {}
};

// Bytes of the matrices in bf16, and as they are.
struct WeightBytes {
  size_t stored = 0;
  size_t as_bf16 = 0;

  void add(const Tensor& t) {
    if (t.defined()) {
      stored += static_cast<size_t>(t.bytes());
      as_bf16 += static_cast<size_t>(dtype_bytes(Dtype::bf16, t.numel()));
    }
  }
};

WeightBytes bytes_of(const LlamaWeights& weights) {
  WeightBytes out;
  out.add(weights.embedding);
  if (weights.lm_head.raw() != weights.embedding.raw()) {
    out.add(weights.lm_head);
  }
  for (const LlamaLayerWeights& w : weights.layers) {
    for (const Tensor* t : {&w.q, &w.k, &w.v, &w.o, &w.gate, &w.up, &w.down}) {
      out.add(*t);
    }
  }
  return out;
}

bool is_converted(const backend::ExecutionContext& where, const LlamaWeights& weights,
                  GpuWeights form) {
  if (where.device() == Device::cpu || where.compute == backend::Compute::f32 ||
      form == GpuWeights::as_stored) {
    return false;
  }
  const size_t room = backend::free_bytes(where);
  return form == GpuWeights::bf16 || bytes_of(weights).as_bf16 <= room / 2;
}

// Where products take packed weights: the vector backends, unless they must be exact.
bool is_packed(const backend::ExecutionContext& where) {
  return where.compute == backend::Compute::bf16 && (where.backend == backend::Backend::cpu_avx2 ||
                                                     where.backend == backend::Backend::cpu_avx512);
}

// Packs weights, or finds them packed.
using Packing = std::function<std::shared_ptr<const PackedWeights>(const LlamaWeights&)>;

// Weights on the device of `where`, in the form wanted.
Llama placed(const backend::ExecutionContext& where, const ModelFiles& files, GpuWeights form,
             const Packing& packing) {
  LlamaWeights weights = load_llama_weights(files);
  if (is_packed(where)) {
    auto packed = packing(weights);
    return Llama(where, files.config, std::move(weights), Matrices::as_device, std::move(packed));
  }
  const bool converts = is_converted(where, weights, form);
  if (where.device() == Device::cuda) {
    const WeightBytes bytes = bytes_of(weights);
    const size_t needed = converts ? bytes.as_bf16 : bytes.stored;
    const size_t room = backend::free_bytes(where);
    OB_REQUIRE(needed <= room, OutOfMemory,
               "the weights of {} take {} MiB{}, the GPU has {} MiB free for this process; use "
               "{}--device cpu, or end what else runs on the card",
               files.path.string(), needed >> 20, converts ? " as bf16" : "", room >> 20,
               converts && bytes.stored < bytes.as_bf16 ? "--gpu-weights stored, " : "");
  }
  Llama model(where, files.config, std::move(weights));
  if (!converts) {
    return model;
  }
  return Llama(where, files.config, dequantised(where, model.weights(), Dtype::bf16));
}

}  // namespace

LanguageModel::LanguageModel(FileSystem& fs, const std::filesystem::path& path,
                             backend::ThreadPool& pool, const LanguageModelOptions& options)
    : LanguageModel(fs, path, CpuContext(pool, options).ctx, options) {}

LanguageModel::LanguageModel(FileSystem& fs, const std::filesystem::path& path,
                             const backend::ExecutionContext& where,
                             const LanguageModelOptions& options)
    : options_(options), files_(open_model(fs, path)) {
  options_.backend = where.backend;
  options_.compute = where.compute;
  text::LoadedTokenizer loaded = load_tokenizer(fs, files_);
  tokenizer_ = std::move(loaded.tokenizer);
  chat_format_ = options.chat_template.empty() ? text::chat_format_of_template(loaded.chat_template)
                                               : text::chat_format_named(options.chat_template);
  fingerprint_ = model_fingerprint(fs, files_, options.fingerprint_cache);
  const Packing packing = [&](const LlamaWeights& weights) {
    return options.fingerprint_cache ? cached_packed_weights(fs, *options.fingerprint_cache,
                                                             fingerprint_, *where.pool, weights)
                                     : pack_weights(*where.pool, weights);
  };
  llama_ = std::make_unique<Llama>(placed(where, files_, options.gpu_weights, packing));
}

Decoder LanguageModel::make_decoder(backend::ThreadPool& pool, int64_t cache_tokens) const {
  return Decoder(
      pool, *llama_,
      {.backend = options_.backend, .compute = options_.compute, .cache_tokens = cache_tokens});
}

Decoder LanguageModel::make_decoder(const backend::ExecutionContext& where,
                                    int64_t cache_tokens) const {
  OB_REQUIRE(where.device() == backend::device_of(options_.backend), InvalidArgument,
             "the weights of {} do not lie on the device of this decoder", files_.path.string());
  return Decoder(where, *llama_, Decoder::options_for(where, cache_tokens));
}

}  // namespace offbook::model
