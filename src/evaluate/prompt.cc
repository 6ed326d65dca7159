#include "src/evaluate/prompt.h"

#include "src/base/error.h"
#include "src/evaluate/token_text.h"
#include "src/store/hash.h"

namespace offbook::evaluate {
namespace {

// Tokens of the joint between prompt and context may read as a few more than each alone.
constexpr int64_t kJointTokens = 4;

// Large rooms are whole steps, so that a cut text is cut at the same place for every question on
// it.
constexpr int64_t kRoomStep = 64;

struct Filled {
  std::string text;
  std::vector<size_t> cuts;  // where the context begins and ends
};

// Replaces the names in braces in one pass, so that a context with "{question}" in it stays as it
// is.
Filled fill(std::string_view form, const Case& c, std::string_view context) {
  Filled out;
  while (!form.empty()) {
    const size_t open = form.find('{');
    out.text += form.substr(0, open);
    if (open == std::string_view::npos) {
      break;
    }
    form.remove_prefix(open);
    const auto takes = [&](std::string_view name) {
      const bool is_it = form.starts_with(name);
      form.remove_prefix(is_it ? name.size() : 0);
      return is_it;
    };
    if (takes("{context}")) {
      out.cuts = {out.text.size(), out.text.size() + context.size()};
      out.text += context;
    } else if (takes("{question}")) {
      out.text += c.question;
    } else if (takes("{example}")) {
      out.text += c.example;
    } else if (takes("{options}")) {
      out.text += lettered(c.options);
    } else if (takes("{stem}")) {
      out.text += c.stem;
    } else {
      out.text += form.front();
      form.remove_prefix(1);
    }
  }
  if (out.cuts.empty()) {
    out.cuts = {0, 0};
  }
  return out;
}

// Of a model without chat format: the same text, cut at the same places.
text::ChatPrompt plain_prompt(const text::Tokenizer& tokenizer, const std::string& system,
                              const Filled& filled, const std::string& stem) {
  text::ChatPrompt out;
  const text::SpecialIds& special = tokenizer.special();
  if (special.add_bos && special.bos) {
    out.ids.push_back(*special.bos);
  }
  const auto add = [&](const std::string& text) {
    const std::vector<int32_t> ids = plain_tokens(tokenizer, text).ids;
    out.ids.insert(out.ids.end(), ids.begin(), ids.end());
  };
  add((system.empty() ? "" : system + "\n\n") + filled.text.substr(0, filled.cuts[0]));
  out.cuts.push_back(out.ids.size());
  add(filled.text.substr(filled.cuts[0], filled.cuts[1] - filled.cuts[0]));
  out.cuts.push_back(out.ids.size());
  add(filled.text.substr(filled.cuts[1]) + (stem.empty() ? "" : "\n" + stem));
  return out;
}

std::span<const std::byte> bytes_of(const std::vector<int32_t>& ids) {
  return std::as_bytes(std::span(ids));
}

compress::ContextPart tokens_part(const std::vector<int32_t>& ids, size_t begin, size_t end) {
  return {.tokens = {ids.begin() + static_cast<std::ptrdiff_t>(begin),
                     ids.begin() + static_cast<std::ptrdiff_t>(end)}};
}

int64_t length_of(const compress::ContextPart& part) {
  if (part.kv.defined()) {
    return part.kv.dim(2);
  }
  return part.soft_tokens.defined() ? part.soft_tokens.dim(0)
                                    : static_cast<int64_t>(part.tokens.size());
}

std::string head_key(const ReadPrompt& prompt, const MadeContext& context) {
  store::Hasher hasher;
  for (const compress::ContextPart& part : prompt.head) {
    hasher.add(bytes_of(part.tokens));
  }
  hasher.add_text(context.parts.empty() ? "" : context.key);
  return store::to_hex(hasher.digest());
}

}  // namespace

int64_t ReadPrompt::tokens() const {
  auto n = static_cast<int64_t>(tail.size());
  for (const compress::ContextPart& part : head) {
    n += length_of(part);
  }
  return n;
}

std::string lettered(const std::vector<std::string>& options) {
  std::string out;
  for (size_t i = 0; i < options.size(); ++i) {
    out += fmt::format("{}{}. {}", i == 0 ? "" : "\n", static_cast<char>('A' + i), options[i]);
  }
  return out;
}

text::ChatPrompt PromptMaker::render(const Task& task, const Case& c, std::string_view context,
                                     bool is_alone) const {
  std::vector<text::ChatMessage> messages;
  if (!task.system.empty()) {
    messages.push_back({"system", task.system, {}});
  }
  const bool uses_other = is_alone && !task.prompt_alone.empty();
  Filled filled = fill(uses_other ? task.prompt_alone : task.prompt, c, context);
  if (!format_) {
    return plain_prompt(tokenizer_, task.system, filled, c.stem);
  }
  messages.push_back({"user", std::move(filled.text), std::move(filled.cuts)});
  text::ChatPrompt prompt = text::render_chat(tokenizer_, *format_, messages);
  if (task.begins_answer) {
    const std::vector<int32_t> stem = plain_tokens(tokenizer_, c.stem).ids;
    prompt.ids.insert(prompt.ids.end(), stem.begin(), stem.end());
  }
  return prompt;
}

int64_t PromptMaker::room(const Task& task, const Case& c, int64_t window) const {
  if (task.measure == Measure::continuation) {
    return window - 1 - count_tokens(tokenizer_, c.continuation);
  }
  const auto fixed = static_cast<int64_t>(render(task, c, "", false).ids.size());
  const int64_t room = window - fixed - task.max_tokens - kJointTokens;
  return room > kRoomStep * 16 ? room / kRoomStep * kRoomStep : room;
}

ReadPrompt PromptMaker::make(const Task& task, const Case& c, const MadeContext& context) const {
  const bool is_alone = context.text.empty() && context.parts.empty();
  const text::ChatPrompt chat = render(task, c, context.text, is_alone);
  ReadPrompt out{.adapter = context.adapter};
  const size_t begin = chat.cuts[0];
  const size_t end = chat.cuts[1];
  if (context.parts.empty()) {
    if (end > 0) {
      out.head.push_back(tokens_part(chat.ids, 0, end));
    }
  } else {
    if (begin > 0) {  // nothing, in a form without chat that begins with the context
      out.head.push_back(tokens_part(chat.ids, 0, begin));
    }
    out.head.insert(out.head.end(), context.parts.begin(), context.parts.end());
  }
  out.tail = tokens_part(chat.ids, end, chat.ids.size()).tokens;
  out.head_key = head_key(out, context);
  return out;
}

ReadPrompt PromptMaker::plain(const Case& c, const MadeContext& context) const {
  ReadPrompt out{.adapter = context.adapter};
  const text::SpecialIds& special = tokenizer_.special();
  const int32_t start = special.bos.value_or(special.eos.value_or(0));
  out.head.push_back({.tokens = {start}});
  if (context.parts.empty()) {
    const auto ids = plain_tokens(tokenizer_, context.text).ids;
    out.head.front().tokens.insert(out.head.front().tokens.end(), ids.begin(), ids.end());
  } else {
    out.head.insert(out.head.end(), context.parts.begin(), context.parts.end());
  }
  out.tail = plain_tokens(tokenizer_, c.continuation).ids;
  out.head_key = head_key(out, context);
  return out;
}

}  // namespace offbook::evaluate
