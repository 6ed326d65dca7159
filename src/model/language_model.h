// A decoder with everything that belongs to it: weights, tokeniser, chat form, fingerprint.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "src/model/decoder.h"
#include "src/model/import/weights.h"
#include "src/records/context.h"
#include "src/text/chat_template.h"

namespace offbook::model {

// In which form a GPU holds the matrices.
enum class GpuWeights : uint8_t {
  automatic,  // bf16 where that takes at most half of the free memory
  bf16,       // converted once: passes of many rows read them as they are
  as_stored,  // as in the file: less memory; passes of many rows convert them each time
};

struct LanguageModelOptions {
  backend::Backend backend = backend::Backend::reference;
  backend::Compute compute = backend::Compute::bf16;
  GpuWeights gpu_weights = GpuWeights::automatic;
  // A name that chat_format_named() knows, in place of what the model's own template says.
  std::string chat_template;
  // Where fingerprints and packed weights are remembered; absent: made anew (reads all weights).
  std::optional<std::filesystem::path> fingerprint_cache;
};

// Owns what it holds; immutable after construction, so any number of decoders may share one.
class LanguageModel {
 public:
  // `path` as open_model() takes it; `pool` is used by this call only. Errors of the readers, and
  // Unsupported, naming --chat-template, for a chat template that is not known. Cost: maps the
  // weights, copies q and k of GGUF files, reads everything once where no fingerprint is
  // remembered.
  LanguageModel(FileSystem& fs, const std::filesystem::path& path, backend::ThreadPool& pool,
                const LanguageModelOptions& options);
  // With its weights on the device of `where`, which must outlive it and whose backend and compute
  // type stand in for those of `options`. OutOfMemory, naming sizes, where they do not fit.
  LanguageModel(FileSystem& fs, const std::filesystem::path& path,
                const backend::ExecutionContext& where, const LanguageModelOptions& options);

  const std::filesystem::path& path() const noexcept { return files_.path; }
  const ModelConfig& config() const noexcept { return files_.config; }
  const Llama& llama() const noexcept { return *llama_; }
  const text::Tokenizer& tokenizer() const noexcept { return *tokenizer_; }
  text::ChatFormat chat_format() const noexcept { return chat_format_; }
  const Fingerprint& fingerprint() const noexcept { return fingerprint_; }

  // A decoder with its own key/value cache of `cache_tokens`. `pool` and this must outlive it.
  Decoder make_decoder(backend::ThreadPool& pool, int64_t cache_tokens) const;
  // The same on the device where the weights are.
  Decoder make_decoder(const backend::ExecutionContext& where, int64_t cache_tokens) const;

 private:
  LanguageModelOptions options_;
  ModelFiles files_;
  std::unique_ptr<Llama> llama_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  text::ChatFormat chat_format_ = text::ChatFormat::chatml;
  Fingerprint fingerprint_;
};

}  // namespace offbook::model
