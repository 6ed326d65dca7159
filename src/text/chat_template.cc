#include "src/text/chat_template.h"

#include <algorithm>
#include <optional>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/text/chat_formats.h"

namespace offbook::text {
namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";

// Collects the prompt: text is tokenised in runs as long as no control token or cut comes between,
// because words may go over the border between a style's own text and a message.
class Prompt {
 public:
  explicit Prompt(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void bos() { push(require(tokenizer_.special().bos, "a bos token")); }
  void eos() { push(require(tokenizer_.special().eos, "an eos token")); }
  void control(std::string_view token) { push(require(find_control(token), token)); }

  // The style's own text: markup that the vocabulary has as a token becomes that token.
  void literal(std::string_view text) {
    while (!text.empty()) {
      size_t length = 1;
      std::optional<int32_t> id;
      for (const std::string_view markup : chat_markup()) {
        if (text.starts_with(markup) && (id = find_control(markup))) {
          length = markup.size();
          break;
        }
      }
      if (id) {
        push(*id);
      } else {
        pending_ += text.substr(0, length);
      }
      text.remove_prefix(length);
    }
  }

  // A message's text; `cuts` are offsets in it.
  void content(std::string_view text, std::span<const size_t> cuts) {
    size_t at = 0;
    for (const size_t cut : cuts) {
      const size_t end = std::clamp(cut, at, text.size());
      pending_ += text.substr(at, end - at);
      at = end;
      flush();
      out_.cuts.push_back(out_.ids.size());
    }
    pending_ += text.substr(at);
  }

  ChatPrompt take() {
    flush();
    return std::move(out_);
  }

 private:
  std::optional<int32_t> find_control(std::string_view token) const {
    const auto id = tokenizer_.vocabulary().find(token);
    const bool is_one = id && (tokenizer_.vocabulary().type(*id) == TokenType::control ||
                               tokenizer_.vocabulary().type(*id) == TokenType::user_defined);
    return is_one ? id : std::nullopt;
  }

  static int32_t require(std::optional<int32_t> id, std::string_view what) {
    OB_REQUIRE(id, Unsupported, "chat template: the model's vocabulary has no {}", what);
    return *id;
  }

  void push(int32_t id) {
    flush();
    out_.ids.push_back(id);
  }

  void flush() {
    if (!pending_.empty()) {
      const Encoding encoding = tokenizer_.encode(
          pending_,
          {.add_special = false, .parse_added = false, .is_continuation = !out_.ids.empty()});
      out_.ids.insert(out_.ids.end(), encoding.ids.begin(), encoding.ids.end());
      pending_.clear();
    }
  }

  const Tokenizer& tokenizer_;
  std::string pending_;
  ChatPrompt out_;
};

// A message's content between two offsets, and the cuts that fall there.
struct Content {
  std::string_view text;
  std::vector<size_t> cuts;
};

Content whole(const ChatMessage& message) {
  return {message.content, message.cuts};
}

Content part(const ChatMessage& message, size_t begin, size_t end) {
  Content out{std::string_view(message.content).substr(begin, end - begin), message.cuts};
  for (size_t& cut : out.cuts) {
    cut = std::clamp(cut, begin, end) - begin;
  }
  return out;
}

Content stripped(const ChatMessage& message) {
  const size_t begin = message.content.find_first_not_of(kSpace);
  if (begin == std::string::npos) {
    return part(message, 0, 0);
  }
  return part(message, begin, message.content.find_last_not_of(kSpace) + 1);
}

// ---- ChatML

// The answer behind "</think>", without the line ends it begins with.
Content without_thoughts(const ChatMessage& message) {
  constexpr std::string_view kEnd = "</think>";
  const size_t thought = message.content.rfind(kEnd);
  if (thought == std::string::npos) {
    return whole(message);
  }
  const size_t begin = message.content.find_first_not_of('\n', thought + kEnd.size());
  return part(message, std::min(begin, message.content.size()), message.content.size());
}

void chatml_turn(Prompt& prompt, std::string_view role, const Content& content) {
  prompt.control("<|im_start|>");
  prompt.literal(role);
  prompt.literal("\n");
  prompt.content(content.text, content.cuts);
  prompt.control("<|im_end|>");
  prompt.literal("\n");
}

void render_chatml(Prompt& prompt, const ChatStyle& style, std::span<const ChatMessage> messages,
                   const ChatOptions& options) {
  if (messages[0].role != "system" && !style.default_system.empty()) {
    chatml_turn(prompt, "system", {style.default_system, {}});
  }
  for (const ChatMessage& message : messages) {
    const bool drops = style.drops_thoughts && message.role == "assistant";
    chatml_turn(prompt, message.role, drops ? without_thoughts(message) : whole(message));
  }
  if (options.asks_for_answer) {
    prompt.control("<|im_start|>");
    prompt.literal("assistant\n");
  }
}

// ---- Llama 3

void llama3_header(Prompt& prompt, std::string_view role) {
  prompt.control("<|start_header_id|>");
  prompt.literal(role);
  prompt.control("<|end_header_id|>");
  prompt.literal("\n\n");
}

void llama3_turn(Prompt& prompt, const ChatMessage& message) {
  const Content content = stripped(message);
  prompt.content(content.text, content.cuts);
  prompt.control("<|eot_id|>");
}

void render_llama3(Prompt& prompt, const ChatStyle& style, std::span<const ChatMessage> messages,
                   const ChatOptions& options) {
  prompt.bos();
  if (style.shows_dates) {
    llama3_header(prompt, "system");
    prompt.literal("Cutting Knowledge Date: December 2023\nToday Date: " + options.today + "\n\n");
    const bool has_system = messages[0].role == "system";
    llama3_turn(prompt, has_system ? messages[0] : ChatMessage{});
    messages = messages.subspan(has_system ? 1 : 0);
  }
  for (const ChatMessage& message : messages) {
    llama3_header(prompt, message.role);
    llama3_turn(prompt, message);
  }
  if (options.asks_for_answer) {
    llama3_header(prompt, "assistant");
  }
}

// ---- Llama 2 and Mistral

void require_alternation(std::span<const ChatMessage> turns) {
  for (size_t i = 0; i < turns.size(); ++i) {
    const std::string_view wanted = i % 2 == 0 ? "user" : "assistant";
    OB_REQUIRE(turns[i].role == wanted, InvalidArgument,
               "chat template: turn {} is \"{}\", but turns must alternate user, assistant, user …",
               i + 1, printable(turns[i].role));
  }
}

void render_system(Prompt& prompt, const ChatStyle& style, const ChatMessage& system) {
  // Llama 2 strips the joined text, which begins with markup.
  prompt.literal(style.system_open);
  prompt.content(system.content, system.cuts);
  prompt.literal(style.system_close);
}

void inst_answer(Prompt& prompt, const ChatStyle& style, const ChatMessage& message) {
  const Content content = style.strips ? stripped(message) : whole(message);
  prompt.literal(style.assistant_open);
  prompt.content(content.text, content.cuts);
  prompt.literal(style.assistant_close);
  prompt.eos();
  prompt.literal(style.after_eos);
}

// In Llama 2 a user's text behind a system message keeps its leading white space.
Content inst_user_content(const ChatStyle& style, const ChatMessage& message, bool has_system) {
  if (!style.strips) {
    return whole(message);
  }
  if (!has_system) {
    return stripped(message);
  }
  return part(message, 0, message.content.find_last_not_of(kSpace) + 1);
}

void render_inst(Prompt& prompt, const ChatStyle& style, std::span<const ChatMessage> messages) {
  const ChatMessage* system = messages[0].role == "system" ? &messages[0] : nullptr;
  const auto turns = messages.subspan(system ? 1 : 0);
  require_alternation(turns);
  OB_REQUIRE(!turns.empty(), InvalidArgument, "chat template: there is no user message");
  if (!style.repeats_bos) {
    prompt.bos();
  }
  if (system && style.system_place == SystemPlace::own) {
    render_system(prompt, style, *system);
  }
  const size_t system_turn = style.system_place == SystemPlace::first_user  ? 0
                             : style.system_place == SystemPlace::last_user ? turns.size() - 1
                                                                            : turns.size();
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].role == "assistant") {
      inst_answer(prompt, style, turns[i]);
      continue;
    }
    if (style.repeats_bos) {
      prompt.bos();
    }
    const bool has_system = system && i == system_turn;
    prompt.literal(style.user_open);
    if (has_system) {
      render_system(prompt, style, *system);
    }
    const Content content = inst_user_content(style, turns[i], has_system);
    prompt.content(content.text, content.cuts);
    prompt.literal(style.user_close);
  }
}

void require_roles(std::span<const ChatMessage> messages) {
  OB_REQUIRE(!messages.empty(), InvalidArgument, "chat template: there are no messages");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    OB_REQUIRE(role == "user" || role == "assistant" || (role == "system" && i == 0),
               InvalidArgument,
               "chat template: message {} has role \"{}\", wanted user or assistant (or system, as "
               "the first)",
               i + 1, printable(role));
  }
}

}  // namespace

ChatPrompt render_chat(const Tokenizer& tokenizer, ChatFormat format,
                       std::span<const ChatMessage> messages, const ChatOptions& options) {
  require_roles(messages);
  const ChatStyle& style = style_of(format);
  Prompt prompt(tokenizer);
  switch (style.family) {
    case ChatFamily::chatml:
      render_chatml(prompt, style, messages, options);
      break;
    case ChatFamily::llama3:
      render_llama3(prompt, style, messages, options);
      break;
    case ChatFamily::inst:
      render_inst(prompt, style, messages);
      break;
  }
  return prompt.take();
}

std::vector<int32_t> chat_stop_ids(const Tokenizer& tokenizer, ChatFormat format) {
  std::vector<int32_t> ids;
  const auto add = [&](std::optional<int32_t> id) {
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) {
      ids.push_back(*id);
    }
  };
  add(tokenizer.special().eos);
  const ChatFamily family = style_of(format).family;
  if (family == ChatFamily::chatml) {
    add(tokenizer.vocabulary().find("<|im_end|>"));
    add(tokenizer.vocabulary().find("<|endoftext|>"));
  } else if (family == ChatFamily::llama3) {
    add(tokenizer.vocabulary().find("<|eot_id|>"));
    add(tokenizer.vocabulary().find("<|end_of_text|>"));
  }
  return ids;
}

}  // namespace offbook::text
