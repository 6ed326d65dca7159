// How much the last token of a prompt attends to the tokens of a document in it: one row of
// attention a head, without the matrix.
#pragma once
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "src/model/llama.h"
#include "src/text/chat_template.h"

namespace offbook::compress {

struct HeadChoice {
  int32_t layer = 0;
  int32_t head = 0;
  bool operator==(const HeadChoice&) const = default;
};

// Whose attention counts.
enum class Asking : uint8_t {
  last_token,  // of the prompt, which is what QUITO means
  question,    // the mean of the question's tokens (the last token where there are none)
};

struct AttentionRowOptions {
  // Heads whose rows are averaged. Empty: all of the last layer, which is what QUITO means.
  std::vector<HeadChoice> heads;
  Asking asking = Asking::last_token;
  int32_t rows_per_pass = 4096;    // tokens of several prompts at most
  bool keeps_heads_apart = false;  // the heads' rows one behind the other, instead of their mean
  // Each head's row is divided by its sum over the document first, so that heads which look
  // elsewhere mostly count as much as others.
  bool has_equal_heads = false;
};

// A prompt and where in it the document stands.
struct RowPrompt {
  std::vector<int32_t> ids;
  size_t begin = 0;  // ids [begin, end) are the document's
  size_t end = 0;
  size_t question_end = 0;  // ids [end, question_end) are the question's; 0: not known
};

// softmax_i(q · k_i / √d) of ids [begin, end), averaged over the chosen heads and what asks; one
// list a prompt. The prompts are packed in one pass and see themselves only. One prefill, plus O(n
// · heads · dim) a chosen layer on the host; no [n, n] matrix. InvalidArgument for an empty prompt,
// a range outside it, a prompt longer than the model's window, or a head the model does not have.
std::vector<std::vector<double>> attention_rows(const backend::ExecutionContext& ctx,
                                                const model::Llama& model,
                                                std::span<const RowPrompt> prompts,
                                                const AttentionRowOptions& options);

// The mean row of `heads` rows that stand one behind the other; are_equal: as has_equal_heads.
std::vector<double> mean_of_heads(std::span<const double> rows, size_t heads, bool are_equal);

// The same for prompts that begin with the same tokens up to `end`: one document, several
// questions. The common tokens are read once, with their keys and values kept (in the context's
// arena), and what follows is read behind them: one prompt a pass on the CPU, so that a row's bits
// do not depend on the other prompts, `rows_per_pass` tokens of several on a GPU. InvalidArgument
// as above, and for prompts that begin differently.
std::vector<std::vector<double>> attention_rows_behind(const backend::ExecutionContext& ctx,
                                                       const model::Llama& model,
                                                       std::span<const RowPrompt> prompts,
                                                       const AttentionRowOptions& options);

// The paper's prompt: one user turn with the document, a space and the question, and the opening of
// the answer; without a chat format the same as plain text. `spans` are the document's tokens, in
// order.
struct QuitoPrompt {
  RowPrompt row;
  std::vector<ByteSpan> spans;  // in the document
};
QuitoPrompt make_quito_prompt(const text::Tokenizer& tokenizer,
                              std::optional<text::ChatFormat> format, std::string_view document,
                              std::string_view question);

}  // namespace offbook::compress
