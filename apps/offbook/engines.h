// Models of one run of the program, opened when first needed.
#pragma once
#include "apps/offbook/shell.h"

#include <memory>
#include <optional>

#include "src/answer/answerer.h"
#include "src/backend/compute_device.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/model/language_model.h"
#include "src/model/sentence_encoder.h"
#include "src/retrieve/retriever.h"

namespace offbook::app {

// Not thread-safe. Errors of opening name the model and how to get it.
class Engines {
 public:
  explicit Engines(const Shell& shell);
  // Shows the profile, where one was asked for.
  ~Engines();

  model::SentenceEncoder& encoder();
  const std::string& encoder_fingerprint();
  const model::LanguageModel& model();
  model::Decoder& decoder();
  // Of the model's tokeniser, without its weights where only that is needed.
  const ingest::TokenCounter& counter();
  // Names both tokenisers.
  std::string tokenizers();
  backend::ThreadPool& pool() noexcept { return device_.pool(); }
  // On the CPU, exact: for search.
  backend::ExecutionContext context() { return device_.cpu_context(backend::Compute::f32); }
  // On the device of --device: for training and compression.
  backend::ExecutionContext device_context() {
    return device_.context(device_.is_gpu() ? backend::Compute::bf16 : backend::Compute::f32);
  }
  const backend::ComputeDevice& device() const noexcept { return device_; }

 private:
  std::filesystem::path path_of(const std::string& name) const;
  backend::ExecutionContext inference() { return device_.context(backend::Compute::bf16); }

  const Shell& shell_;
  backend::ComputeDevice device_;  // before all that lives on it
  backend::OpProfile* profile_ = nullptr;
  std::chrono::steady_clock::time_point began_;
  std::unique_ptr<model::SentenceEncoder> encoder_;
  std::optional<std::string> encoder_fingerprint_;
  std::unique_ptr<model::LanguageModel> model_;
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<ingest::TokenizerCounter> counter_;
};

// A corpus that answers: its active generation, ready to be searched.
struct OpenCorpus {
  store::Corpus corpus;
  int64_t generation = 0;
  std::unique_ptr<retrieve::Retriever> retriever;

  // `asks_often`: a graph may be built for a very large corpus. NotFound, Unsupported… of opening.
  OpenCorpus(const Shell& shell, Engines& engines, const std::string& name, bool asks_often);
};

}  // namespace offbook::app
