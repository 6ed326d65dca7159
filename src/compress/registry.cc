#include "src/compress/registry.h"

#include "src/compress/autocompressor/compressor.h"
#include "src/compress/baselines/baselines.h"
#include "src/compress/beacon/compressor.h"
#include "src/compress/icae/compressor.h"
#include "src/compress/quito/chosen_heads.h"
#include "src/compress/quito/compressor.h"
#include "src/compress/selective_context/compressor.h"

namespace offbook::compress {
namespace {

template <Keep keep>
std::unique_ptr<Compressor> make_kept_text(const backend::ExecutionContext&, const BaseModel& base,
                                           const CompressorWeights*) {
  return std::make_unique<KeptText>(base, keep);
}

template <typename T>
std::unique_ptr<Compressor> make_untrained(const backend::ExecutionContext&, const BaseModel& base,
                                           const CompressorWeights*) {
  return std::make_unique<T>(base);
}

template <QuitoCompressor::Row row>
std::unique_ptr<Compressor> make_quito(const backend::ExecutionContext&, const BaseModel& base,
                                       const CompressorWeights*) {
  return std::make_unique<QuitoCompressor>(base, row, chosen_attention(base.fingerprint.family));
}

template <typename T>
std::unique_ptr<Compressor> make_trained(const backend::ExecutionContext& ctx,
                                         const BaseModel& base, const CompressorWeights* weights) {
  return std::make_unique<T>(ctx, base, *weights);
}

constexpr Method kMethods[] = {
    {"truncate", ContextKind::text, false, make_kept_text<Keep::head>},
    {"head_tail", ContextKind::text, false, make_kept_text<Keep::head_and_tail>},
    {"random", ContextKind::text, false, make_kept_text<Keep::random>},
    {"selective_context", ContextKind::text, false, make_untrained<SelectiveContextCompressor>},
    {"quito", ContextKind::text, false, make_quito<QuitoCompressor::Row::published>},
    {"quito_no_sink", ContextKind::text, false,
     make_quito<QuitoCompressor::Row::without_first_token>},
    {"quito_heads", ContextKind::text, false, make_quito<QuitoCompressor::Row::chosen_heads>},
    {"beacon", ContextKind::kv_prefix, true, make_trained<BeaconCompressor>},
    {"autocompressor", ContextKind::soft_tokens, true, make_trained<AutoCompressor>},
    {"icae", ContextKind::soft_tokens, true, make_trained<IcaeCompressor>},
};

}  // namespace

std::span<const Method> methods() {
  return kMethods;
}

const Method& find_method(std::string_view id) {
  std::string known;
  for (const Method& method : kMethods) {
    if (method.id == id) {
      return method;
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", method.id);
  }
  OB_THROW(InvalidArgument, "no compression method {}; there are {}", printable(id), known);
}

std::unique_ptr<Compressor> make_compressor(const backend::ExecutionContext& ctx,
                                            const BaseModel& base, std::string_view id,
                                            const CompressorWeights* weights) {
  const Method& method = find_method(id);
  OB_REQUIRE(method.needs_training == (weights != nullptr), InvalidArgument, "the method {} {}", id,
             method.needs_training ? "needs trained weights" : "has no weights");
  if (weights != nullptr) {
    OB_REQUIRE(weights->method == id, InvalidArgument, "weights of the method {} were given to {}",
               printable(weights->method), id);
    OB_REQUIRE(weights->base.model == base.fingerprint.model, InvalidArgument,
               "{} weights of the model {} do not fit the model {}", id,
               printable(weights->base.model), base.fingerprint.model);
  }
  return method.make(ctx, base, weights);
}

std::unique_ptr<Compressor> load_compressor(const backend::ExecutionContext& ctx,
                                            const BaseModel& base, FileSystem& fs,
                                            const std::filesystem::path& path) {
  const CompressorWeights weights = load_weights(fs, path, base.fingerprint);
  try {
    return make_compressor(ctx, base, weights.method, &weights);
  } catch (Error& e) {
    e.add_context(path.string());
    throw;
  }
}

}  // namespace offbook::compress
