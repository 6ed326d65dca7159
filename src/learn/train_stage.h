// The stage `train`: examples → a LoRA adapter in the corpus.
#pragma once
#include <stop_token>
#include <string>
#include <vector>

#include "src/learn/training_set.h"
#include "src/model/lora_init.h"
#include "src/store/corpus.h"
#include "src/train/trainer.h"

namespace offbook::learn {

struct TrainProgress {
  int64_t step = 0, steps = 0;
  double loss = 0;
};

struct TrainStageOptions {
  // Changes the result.
  model::LoraOptions lora;  // rank 8, alpha 16, q k v o
  float lr = 1e-3f;
  double epochs = 3;
  int64_t max_tokens = 120'000;  // of all steps together; fewer epochs where it is reached
  int32_t micro_batch_tokens = 2048;
  int32_t accumulation = 1;
  int evaluations = 6;       // of the held-out loss in a whole run
  int32_t patience = 2;      // evaluations without improvement
  size_t max_held_out = 32;  // sequences the held-out loss is taken over
  std::string group;         // of documents, that the adapter is for; "": of all
  float lr_floor = 0.1f;     // share of lr at the end
  // Whose change of the model stands under the adapter, frozen: that of a compressor whose slots
  // only its own weights read. The adapter that is stored holds both. Null: the base alone.
  const model::LoraAdapter* reader = nullptr;
  std::string reader_id;  // names its content
  // Changes how it runs.
  std::stop_token stop;
  std::function<void(const TrainProgress&)> on_progress;
};

struct TrainOutcome {
  std::string adapter;     // id; empty when there was nothing to train on
  bool is_reused = false;  // the same training was done before
  train::TrainResult result;
  double first_held_out = 0;  // of the untrained adapter: of the base
  int64_t sequences = 0, tokens = 0, not_asked = 0, too_long = 0;
};

// Steps of a run over `tokens` of sequences.
int64_t training_steps(int64_t tokens, const TrainStageOptions& options);

// Trains on the prompts that `ask` builds. The state is kept in <corpus>/work so that a stopped or
// killed run goes on where it was; the finished adapter is stored as an artefact with the documents
// of `split.training` and the base's fingerprint. It is not given to a generation here: assess
// does. The corpus must be open for writing. Errors: Cancelled; Corrupt when the loss stops being
// finite from the first step on. Cost: 6 × parameters of the layers multiply-adds a token. Memory:
// the base in bf16, one residual stream a layer for a micro-batch, logits of its targets.
TrainOutcome train_adapter(store::Corpus& corpus, const ExampleSplit& split,
                           const model::LanguageModel& model, const PromptMaker& prompt_of,
                           const backend::ExecutionContext& ctx, const TrainStageOptions& options);

}  // namespace offbook::learn
