// What slots are worth, measured on held-out windows and questions: the figures of METHOD.md and of
// the bars.
#pragma once
#include <string>
#include <vector>

#include "src/compress/beacon/readings.h"
#include "src/compress/data/shards.h"
#include "src/compress/memory_losses.h"
#include "src/compress/training_text.h"

namespace offbook::compress {

struct FigureOptions {
  std::vector<int32_t> ratios = {8, 16, 32};
  int32_t context = 1536;
  int32_t continuation = 512;
  int32_t recall_length = 128, recall_cue = 8, recall_token = 9;
  int32_t raw_between = 128;  // tokens between memory and cue
  size_t windows_at_once = 4;
  uint64_t seed = 5;  // of recalled spans
};

// Of one ratio. Recall is measured three times: behind the memory, with raw text of a third
// document between memory and cue, and with that document's slots between. `other` and
// `other_then_raw` have the same between, so each share stands on its own ends.
struct ReadingFigures {
  int32_t ratio = 0;
  int64_t windows = 0;
  MemoryLosses continuation, recall, recall_behind_raw, recall_behind_slots;
};

// Windows of at least context + continuation tokens, of two documents or more.
std::vector<ReadingFigures> measure_reading(const backend::ExecutionContext& ctx,
                                            const ReadingModel& model,
                                            const std::vector<TrainingText::Window>& windows,
                                            const FigureOptions& options);

nlohmann::json to_json(const std::vector<ReadingFigures>& figures);

// Answers to given questions behind one kind of memory.
struct QuestionFigures {
  std::string memory;  // "none", "8x", "8x of another document", retrieved_row(8), "raw"
  int64_t documents = 0, questions = 0;
  double kept_tokens = 0;  // mean
  double answer_tokens = 0;
  double loss = 0;  // a token of the answers
  double f1 = 0;    // greedy, of up to 32 tokens, against the one reference a shard holds
};

struct QuestionOptions {
  std::vector<int32_t> ratios = {8, 32};
  size_t documents = 16;
  size_t questions = 4;            // a document
  int32_t longest_context = 3072;  // tokens of a document that are read
  int32_t segment = 1536;
  bool has_raw = true;
  size_t documents_at_once = 1;  // in one pass: more on a GPU
};

// What the row beside slots at this ratio is called: raw text of as many tokens, the stretches that
// hold most of the question's rare tokens.
std::string retrieved_row(int32_t ratio);

// Documents with given questions, the first ones of the set.
std::vector<QuestionFigures> measure_questions(const backend::ExecutionContext& ctx,
                                               const ReadingModel& model,
                                               const text::Tokenizer& tokenizer,
                                               const TrainingSet& set,
                                               const QuestionOptions& options);

nlohmann::json to_json(const std::vector<QuestionFigures>& figures);

}  // namespace offbook::compress
