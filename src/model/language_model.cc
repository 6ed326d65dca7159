#include "src/model/language_model.h"

#include "src/model/import/fingerprint.h"
#include "src/model/import/tokenizer_source.h"

namespace offbook::model {

LanguageModel::LanguageModel(FileSystem& fs, const std::filesystem::path& path,
                             backend::ThreadPool& pool, const LanguageModelOptions& options)
    : options_(options), files_(open_model(fs, path)) {
  text::LoadedTokenizer loaded = load_tokenizer(fs, files_);
  tokenizer_ = std::move(loaded.tokenizer);
  chat_format_ = options.chat_template.empty() ? text::chat_format_of_template(loaded.chat_template)
                                               : text::chat_format_named(options.chat_template);
  fingerprint_ = model_fingerprint(fs, files_, options.fingerprint_cache);
  backend::Arena arena;
  const backend::ExecutionContext ctx{
      .backend = options.backend, .compute = options.compute, .pool = &pool, .arena = &arena};
  llama_ = std::make_unique<Llama>(ctx, files_.config, load_llama_weights(files_));
}

Decoder LanguageModel::make_decoder(backend::ThreadPool& pool, int64_t cache_tokens) const {
  return Decoder(
      pool, *llama_,
      {.backend = options_.backend, .compute = options_.compute, .cache_tokens = cache_tokens});
}

}  // namespace offbook::model
