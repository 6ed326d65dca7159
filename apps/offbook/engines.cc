#include "apps/offbook/engines.h"

#include "apps/offbook/model_memory.h"

#include <limits>

#include "src/model/import/fingerprint.h"

namespace offbook::app {
namespace {

model::GpuWeights gpu_weights_named(const std::string& name) {
  if (name == "bf16") {
    return model::GpuWeights::bf16;
  }
  OB_REQUIRE(name == "auto" || name == "stored", InvalidArgument,
             "--gpu-weights is auto, bf16 or stored, not \"{}\"", name);
  return name == "auto" ? model::GpuWeights::automatic : model::GpuWeights::as_stored;
}

}  // namespace

Engines::Engines(const Shell& shell)
    : shell_(shell),
      device_({.name = shell.options.device,
               .threads = shell.options.threads,
               .gpu_memory_bytes = shell.options.gpu_memory_bytes}) {
  gpu_weights_named(shell_.options.gpu_weights);  // refused before anything is read
  if (!device_.note().empty()) {
    shell_.note("{}", device_.note());
  }
  if (shell_.options.profile) {
    profile_ = &device_.start_profile();
  }
  began_ = std::chrono::steady_clock::now();
}

Engines::~Engines() {
  if (profile_ == nullptr) {
    return;
  }
  try {
    const std::chrono::duration<double, std::milli> wall =
        std::chrono::steady_clock::now() - began_;
    shell_.note("{}\n{}", device_.description(),
                backend::profile_table(profile_->take(), wall.count()));
  } catch (const Error& e) {  // a GPU that was lost: the error that ended the command says so
    shell_.note("no profile: {}", e.what());
  }
}

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
    encoder_ = std::make_unique<model::SentenceEncoder>(
        real_file_system(), path_of(shell_.options.encoder), inference(), shell_.options.cache);
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
        real_file_system(), path_of(shell_.options.model), inference(),
        model::LanguageModelOptions{.gpu_weights = gpu_weights_named(shell_.options.gpu_weights),
                                    .chat_template = shell_.options.chat_template,
                                    .fingerprint_cache = shell_.options.cache});
  }
  return *model_;
}

model::Decoder& Engines::decoder() {
  if (!decoder_) {
    decoder_.reset(
        new model::Decoder(model().make_decoder(inference(), cache_tokens(model().config()))));
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
