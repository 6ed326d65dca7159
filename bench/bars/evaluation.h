// A run of the evaluation harness with the default model, for bars.
#pragma once
#include "bench/bars/default_model.h"

#include <memory>
#include <optional>

#include <unistd.h>

#include "src/evaluate/run.h"
#include "src/evaluate/scores.h"

namespace offbook::bars {

// The model, and a directory that goes when it goes.
class EvaluationMachine {
 public:
  EvaluationMachine()
      : decoder_(model().make_decoder(context(), model_.is_gpu() ? 400'000 : 24'576)),
        base_{model().llama(), model().tokenizer(), model().fingerprint(), model().chat_format()},
        reader_(base_, decoder_, model_.is_gpu() ? 256 : 8,
                model::Decoder::options_for(context(), 0).prefill_rows),
        directory_(std::filesystem::temp_directory_path() /
                   fmt::format("offbook_evaluation_{}", ::getpid())) {}
  ~EvaluationMachine() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  const model::LanguageModel& model() const { return model_.get(); }
  model::Decoder& decoder() { return decoder_; }
  const compress::BaseModel& base() const { return base_; }
  backend::ExecutionContext context() { return model_.context(); }

  evaluate::SuiteRun run(const evaluate::Suite& suite, const evaluate::CellOptions& cells,
                         const evaluate::CaseOptions& cases) {
    const evaluate::ContextTools tools{.ctx = context(), .base = base_};
    evaluate::RunOptions options{.cases = cases, .out = directory_};
    options.cases.data = data_directory();
    options.contexts.retriever = retrieve::Mode::words;
    options.cells = evaluate::make_cells(cells);
    return evaluate::run_suite(real_file_system(), suite, tools, reader_, options);
  }
  int64_t window() const { return model().config().max_positions; }

 private:
  DefaultModel model_;
  model::Decoder decoder_;
  compress::BaseModel base_;
  evaluate::Reader reader_;
  std::filesystem::path directory_;
};

inline bool has_model_and_data() {
  return std::filesystem::exists(default_model_path()) &&
         std::filesystem::exists(data_directory() / "data/squad.jsonl.zst");
}

}  // namespace offbook::bars
