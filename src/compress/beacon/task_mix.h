// The tasks a beacon learns from, mixed: what a training batch is made of. Pure numbers, no tensor.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/base/random.h"
#include "src/compress/beacon/readings.h"
#include "src/compress/data/shards.h"

namespace offbook::compress {

// Kinds of reading, for weights and logs.
enum class TaskKind : uint8_t { continuation, recall, given, asked, cloze, keywords };
inline constexpr int kTaskKinds = 6;
std::string_view to_string(TaskKind kind) noexcept;

// How batches are drawn; every field can be set in a mix file (docs/formats/training_data.md).
struct TaskMix {
  int32_t windows = 16;  // a batch
  // Of a window's context: how often it has 1, 2, … segments, and their lengths.
  std::vector<double> segment_shares = {0.5, 0.25, 0.15, 0.1};
  int32_t shortest_segment = 256;
  int32_t longest_segment = 1536;
  int32_t continuation = 512;
  // Of windows whose context is not longer than longest_taught: how often the continuation is
  // learned from what the base says behind the raw context, in place of the tokens themselves.
  double taught_share = 0;
  int32_t longest_taught = 3072;
  // Share of windows that are drawn from documents with given questions, whole where they are not
  // longer than this.
  double given_share = 0.25;
  int32_t given_context = 3072;
  int32_t given_questions = 8;  // of such a window
  int32_t rule_questions = 3;   // of other windows

  // How often each trained ratio is drawn; what is left of 1 goes to whole ratios between the
  // smallest and the largest.
  std::vector<int32_t> ratios = {4, 8, 16, 32, 64};
  std::vector<double> ratio_shares = {0.1, 0.35, 0.2, 0.25, 0.05};

  int32_t recall_spans = 2;
  int32_t recall_length = 128;
  int32_t recall_cue = 8;
  int32_t recall_token = 9;  // of SmolLM2's vocabulary a control token that no text uses

  // How often a window is one segment of `restored` tokens (of a document's at most,
  // longest_segment at most) at the lowest ratio, read whole after the recall token and its first
  // words, and nothing else.
  double restored_share = 0;
  int32_t restored = 512;

  // What recall and questions read in place of exactly the window's slots; the rest read those.
  double joined_share = 0.25;   // with another window's slots in front or behind
  double picked_share = 0.3;    // some runs of slots, those of the evidence among them
  double shuffled_share = 0.5;  // of picked: runs out of order
  int32_t shortest_run = 64, longest_run = 256;  // tokens
  int32_t most_runs = 6;
  // Between memory and cue, independent of the above.
  double raw_share = 0.25;  // raw text of another document
  int32_t longest_raw = 256;
  double turn_share = 0.2;  // of questions: another question with its answer
  double lead_share = 0.6;  // of questions: behind the prompt's beginning, else behind the sink

  std::vector<float> weights = {1, 1, 6, 4, 3, 1};  // a token of each TaskKind
  float first_weight = 2;                           // × besides, for the first token of an answer
};

// InvalidArgument for unknown fields, values out of range, shares that do not fit.
TaskMix read_mix(const nlohmann::json& json, const std::string& where);
nlohmann::json to_json(const TaskMix& mix);

// Draws batches from a set; thread-safe, keeps references to both.
class TaskSampler {
 public:
  // InvalidArgument when no document is long enough for a window.
  TaskSampler(const TrainingSet& set, const TaskMix& mix);

  // Everything comes from `seed`.
  ReadingBatch draw(uint64_t seed) const;

 private:
  struct Window;
  class Draw;

  const TrainingSet& set_;
  TaskMix mix_;
  std::vector<double> text_ends_;   // running sums of weight × tokens
  std::vector<double> given_ends_;  // of weight × √(given questions)
  std::vector<size_t> given_;       // documents with given questions
  std::vector<int32_t> turn_;       // from one answer's end to the next question
};

}  // namespace offbook::compress
