#include "apps/offbook/engines.h"

#include <limits>

#include "src/model/import/fingerprint.h"

namespace offbook::app {
namespace {

backend::Backend backend_named(const std::string& name) {
  if (name == "auto" || name == "cpu") {
    return backend::best_cpu_backend();
  }
  if (name == "reference") {
    return backend::Backend::reference;
  }
  OB_REQUIRE(name == "cuda", InvalidArgument,
             "--device is auto, cpu, reference or cuda, not \"{}\"", name);
  OB_THROW(Unsupported, "--device cuda: this offbook was built without CUDA; use --device cpu");
}

constexpr int64_t kCacheTokens = 12'288;  // a full window of 8,192 and prompts that are kept

}  // namespace

Engines::Engines(const Shell& shell)
    : shell_(shell),
      pool_(shell.options.threads > 0 ? shell.options.threads : backend::default_thread_count()),
      backend_(backend_named(shell.options.device)) {}

std::filesystem::path Engines::path_of(const std::string& name) const {
  FileSystem& fs = real_file_system();
  const bool is_path = name.find('/') != std::string::npos || name.ends_with(".gguf");
  const std::filesystem::path path =
      is_path ? std::filesystem::path(name) : shell_.options.models / name;
  OB_REQUIRE(fs.stat(path), NotFound,
             "no model at {}; `offbook models fetch` downloads the default pair, --models or "
             "OFFBOOK_MODELS names another directory",
             path.string());
  return path;
}

model::SentenceEncoder& Engines::encoder() {
  if (!encoder_) {
    encoder_ = std::make_unique<model::SentenceEncoder>(real_file_system(),
                                                        path_of(shell_.options.encoder), pool_,
                                                        backend_, backend::Compute::bf16);
  }
  return *encoder_;
}

const std::string& Engines::encoder_fingerprint() {
  if (!encoder_fingerprint_) {
    encoder_fingerprint_ =
        model::encoder_fingerprint(real_file_system(), path_of(shell_.options.encoder),
                                   shell_.options.cache)
            .model;
  }
  return *encoder_fingerprint_;
}

const model::LanguageModel& Engines::model() {
  if (!model_) {
    model_ = std::make_unique<model::LanguageModel>(
        real_file_system(), path_of(shell_.options.model), pool_,
        model::LanguageModelOptions{.backend = backend_,
                                    .compute = backend::Compute::bf16,
                                    .chat_template = shell_.options.chat_template,
                                    .fingerprint_cache = shell_.options.cache});
  }
  return *model_;
}

model::Decoder& Engines::decoder() {
  if (!decoder_) {
    const int64_t tokens = std::min<int64_t>(model().config().max_positions * 3 / 2, kCacheTokens);
    decoder_.reset(new model::Decoder(model().make_decoder(pool_, tokens)));
  }
  return *decoder_;
}

const ingest::TokenCounter& Engines::counter() {
  if (!counter_) {
    counter_ =
        std::make_unique<ingest::TokenizerCounter>(model().tokenizer(), encoder().tokenizer());
  }
  return *counter_;
}

std::string Engines::tokenizers() {
  return model().fingerprint().family + "/" + encoder_fingerprint();
}

backend::ExecutionContext Engines::context() noexcept {
  return {.backend = backend_, .compute = backend::Compute::f32, .pool = &pool_, .arena = &arena_};
}

OpenCorpus::OpenCorpus(const Shell& shell, Engines& engines, const std::string& name,
                       bool asks_often)
    : corpus(shell.corpora().open(name, store::Access::read)) {
  generation = corpus.generations().require_active();
  retrieve::RetrieverOptions options;
  if (!asks_often) {
    options.exact_up_to = std::numeric_limits<int64_t>::max();
  }
  retriever = std::make_unique<retrieve::Retriever>(corpus, generation, engines.encoder(),
                                                    engines.encoder_fingerprint(),
                                                    engines.context(), options);
}

}  // namespace offbook::app
