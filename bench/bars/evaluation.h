// A run of the evaluation harness with the default model, for bars.
#pragma once
#include "bench/bars/bar.h"

#include <memory>
#include <optional>

#include <unistd.h>

#include "src/evaluate/run.h"
#include "src/evaluate/scores.h"
#include "src/model/language_model.h"

namespace offbook::bars {

// The model, and a directory that goes when it goes.
class EvaluationMachine {
 public:
  EvaluationMachine()
      : backend_(backend::best_cpu_backend()),
        pool_(backend::default_thread_count()),
        model_(real_file_system(), model_directory() / "smollm2-135m-instruct", pool_,
               {.backend = backend_}),
        decoder_(model_.make_decoder(pool_, 24'576)),
        base_{model_.llama(), model_.tokenizer(), model_.fingerprint(), model_.chat_format()},
        reader_(base_, decoder_, 8),
        directory_(std::filesystem::temp_directory_path() /
                   fmt::format("offbook_evaluation_{}", ::getpid())) {}
  ~EvaluationMachine() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  const model::LanguageModel& model() const { return model_; }
  model::Decoder& decoder() { return decoder_; }
  const compress::BaseModel& base() const { return base_; }
  backend::ExecutionContext context() {
    return {
        .backend = backend_, .compute = backend::Compute::bf16, .pool = &pool_, .arena = &arena_};
  }

  evaluate::SuiteRun run(const evaluate::Suite& suite, const evaluate::CellOptions& cells,
                         const evaluate::CaseOptions& cases) {
    const evaluate::ContextTools tools{.ctx = context(), .base = base_};
    evaluate::RunOptions options{.cases = cases, .out = directory_};
    options.cases.data = data_directory();
    options.contexts.retriever = retrieve::Mode::words;
    options.cells = evaluate::make_cells(cells);
    return evaluate::run_suite(real_file_system(), suite, tools, reader_, options);
  }
  int64_t window() const { return model_.config().max_positions; }

 private:
  backend::Backend backend_;
  backend::ThreadPool pool_;
  backend::Arena arena_;
  model::LanguageModel model_;
  model::Decoder decoder_;
  compress::BaseModel base_;
  evaluate::Reader reader_;
  std::filesystem::path directory_;
};

inline bool has_model_and_data() {
  return std::filesystem::exists(model_directory() / "smollm2-135m-instruct") &&
         std::filesystem::exists(data_directory() / "data/squad.jsonl.zst");
}

}  // namespace offbook::bars
