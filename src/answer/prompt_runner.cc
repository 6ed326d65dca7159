#include "src/answer/prompt_runner.h"

#include <algorithm>
#include <functional>

#include "src/base/error.h"
#include "src/ops/paged_attention/paged_attention.h"

namespace offbook::answer {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  return (a ^ (b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2))) * 0xbf58476d1ce4e5b9ull;
}

// One number a position. What an adapter computed is of no use to another.
std::vector<uint64_t> units_of(const Prompt& prompt, const std::string& adapter_id) {
  const uint64_t salt = std::hash<std::string>{}(adapter_id);
  std::vector<uint64_t> units;
  for (const PromptPart& part : prompt) {
    const uint64_t key = mix(salt, std::hash<std::string>{}(part.key));
    for (int32_t i = 0; i < part.length(); ++i) {
      const bool is_token = !part.tokens.empty();
      const uint64_t value = is_token ? static_cast<uint64_t>(part.tokens[static_cast<size_t>(i)])
                                      : (uint64_t{1} << 40) + static_cast<uint64_t>(i);
      units.push_back(mix(is_token ? salt : key, value));
    }
  }
  return units;
}

// Down to the beginning of a part of vectors that would be cut.
int32_t whole_parts(const Prompt& prompt, int32_t length) {
  int32_t begin = 0;
  for (const PromptPart& part : prompt) {
    const int32_t end = begin + part.length();
    if (length < end) {
      return part.tokens.empty() ? begin : length;
    }
    begin = end;
  }
  return length;
}

int32_t common(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  const auto [end, other] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<int32_t>(end - a.begin());
}

}  // namespace

int32_t PromptPart::length() const {
  if (kv.defined()) {
    return static_cast<int32_t>(kv.dim(2));
  }
  return soft_tokens.defined() ? static_cast<int32_t>(soft_tokens.dim(0))
                               : static_cast<int32_t>(tokens.size());
}

int32_t prompt_length(const Prompt& prompt) {
  int32_t length = 0;
  for (const PromptPart& part : prompt) {
    length += part.length();
  }
  return length;
}

void PromptRunner::make_room(int32_t tokens) {
  const int64_t pages = tokens / ops::kPageTokens + 2;  // a shared last page is copied
  while (!kept_.empty() && decoder_.cache().free_pages() < pages) {
    kept_.pop_front();
  }
}

PromptRun PromptRunner::run(const Prompt& prompt, const model::LoraAdapter* adapter,
                            const std::string& adapter_id) {
  OB_REQUIRE(!prompt.empty() && !prompt.back().tokens.empty(), InvalidArgument,
             "a prompt ends with tokens");
  const std::vector<uint64_t> units = units_of(prompt, adapter_id);
  const auto length = static_cast<int32_t>(units.size());
  int32_t reused = 0;
  PromptRun out{.sequence = decoder_.make_sequence()};
  for (const Kept& kept : kept_) {
    const int32_t shared = whole_parts(prompt, std::min(common(units, kept.units), length - 1));
    if (shared > reused) {
      reused = shared;
      out.sequence = kept.sequence.fork();
    }
  }
  out.sequence.truncate(reused);
  make_room(length - reused);
  int32_t begin = 0;
  for (const PromptPart& part : prompt) {
    const int32_t end = begin + part.length();
    const int32_t from = std::max(begin, reused) - begin;
    if (end > reused && part.kv.defined()) {
      decoder_.attach(out.sequence, part.kv);
      out.attached_tokens += part.length();
    } else if (end > reused) {
      out.logits =
          decoder_.append({.sequence = &out.sequence,
                           .tokens = std::span(part.tokens).subspan(part.tokens.empty() ? 0 : from),
                           .soft_tokens = part.soft_tokens,
                           .adapter = adapter,
                           .wants_logits = &part == &prompt.back()});
    }
    begin = end;
  }
  out.reused_tokens = reused;
  out.computed_tokens = length - reused - out.attached_tokens;
  return out;
}

void PromptRunner::keep(PromptRun run, const Prompt& prompt, const std::string& adapter_id,
                        const std::vector<int32_t>& answer) {
  Prompt whole = prompt;
  whole.push_back({.name = "answer", .tokens = answer});
  std::vector<uint64_t> units = units_of(whole, adapter_id);
  // The last token of an answer may not have been run.
  units.resize(std::min(units.size(), static_cast<size_t>(run.sequence.length())));
  kept_.push_back({std::move(units), std::move(run.sequence)});
  while (kept_.size() > kept_prompts_) {
    kept_.pop_front();
  }
}

}  // namespace offbook::answer
