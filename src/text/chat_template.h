// Messages → prompt tokens, in the forms that model families were trained on.
//
// There is no template engine: a model's Jinja text is recognised by its hash and stands for one of
// the formats below. What users write is never read as control tokens: a message that holds
// "<|im_end|>" is that text, letter by letter. (Llama 2 and early Mistral mark turns with plain
// text,
// "[INST]"; there only the model's training tells a user's "[INST]" apart.)
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/text/tokenizer.h"

namespace offbook::text {

enum class ChatFormat : uint8_t {
  chatml,
  smollm2,  // ChatML with SmolLM2's own system message where none is given
  qwen2,    // ChatML, "You are a helpful assistant."
  qwen2_5,  // ChatML, "You are Qwen, …"
  qwen3,    // ChatML; thoughts of earlier answers are left out
  llama2,
  llama3,
  llama3_1,  // always a system message, with the dates
  mistral_v0_1,
  mistral_v0_2,
  mistral_v0_2_system,
  mistral_v0_3,
  mistral_nemo,
  mistral_v7,
};

// The format of a name as --chat-template takes it: chatml, smollm2, llama2, llama3, llama3.1,
// mistral (v0.3), mistral-v0.1 …, qwen (Qwen2.5), qwen2, qwen3. InvalidArgument listing the names.
ChatFormat chat_format_named(std::string_view name);

// The format of a model's template text. Unsupported, naming --chat-template, for other texts.
ChatFormat chat_format_of_template(std::string_view jinja);

struct ChatMessage {
  std::string role;  // "system" (first only), "user", "assistant"
  std::string content;
  // Byte offsets in `content`, rising, where a boundary between tokens must fall, so that something
  // else (soft tokens, a KV prefix) can be put there.
  std::vector<size_t> cuts;
};

struct ChatOptions {
  bool asks_for_answer = true;        // end with the opening of the assistant's turn
  std::string today = "26 Jul 2024";  // llama3.1 only; the default is the template's own
};

struct ChatPrompt {
  std::vector<int32_t> ids;  // with bos, where the format has it
  std::vector<size_t> cuts;  // for each cut of each message in order: the index in ids
};

// Errors: InvalidArgument for no messages, unknown roles, a system message that is not the first,
// and, in llama2 and mistral, turns that do not alternate from "user"; Unsupported when the
// vocabulary lacks a token of the format. Where a format has no system message (mistral_v0_1, v0_2)
// it goes in front of the first user's.
ChatPrompt render_chat(const Tokenizer& tokenizer, ChatFormat format,
                       std::span<const ChatMessage> messages, const ChatOptions& options = {});

// The tokens that end an answer: eos and the format's own.
std::vector<int32_t> chat_stop_ids(const Tokenizer& tokenizer, ChatFormat format);

}  // namespace offbook::text
