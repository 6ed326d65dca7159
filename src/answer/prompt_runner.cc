#include "src/answer/prompt_runner.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "src/base/error.h"
#include "src/ops/paged_attention/paged_attention.h"

namespace offbook::answer {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  return (a ^ (b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2))) * 0xbf58476d1ce4e5b9ull;
}

bool is_apart(const PromptPart& part) {
  return part.reading == Reading::apart;
}

// Parts that are taken over as a whole or not at all.
bool is_whole(const PromptPart& part) {
  return part.tokens.empty() || is_apart(part);
}

// Names what a whole part holds; what stands before it is compared before it is.
std::string content_of(const PromptPart& part) {
  return part.tokens.empty() ? part.key
                             : std::string(reinterpret_cast<const char*>(part.tokens.data()),
                                           part.tokens.size() * sizeof(int32_t));
}

// The tokens that passages read apart stand behind.
std::vector<int32_t> beginning_of(const Prompt& prompt) {
  std::vector<int32_t> tokens;
  for (const PromptPart& part : prompt) {
    if (is_apart(part)) {
      return tokens;
    }
    tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
  }
  return {};
}

// Rows of [layer, 2, n, kv_head, head_dim], as a tensor of their own.
Tensor rows_of(const Tensor& kv, int64_t begin, int64_t end) {
  if (begin == 0 && end == kv.dim(2)) {
    return kv;
  }
  const Tensor out =
      Tensor::empty(kv.dtype(), {kv.dim(0), kv.dim(1), end - begin, kv.dim(3), kv.dim(4)});
  const int64_t row = kv.bytes() / (kv.dim(0) * kv.dim(1) * kv.dim(2));
  for (int64_t plane = 0; plane < kv.dim(0) * kv.dim(1); ++plane) {
    std::memcpy(out.raw() + plane * (end - begin) * row,
                kv.raw() + (plane * kv.dim(2) + begin) * row,
                static_cast<size_t>((end - begin) * row));
  }
  return out;
}

// One number a position. What an adapter computed is of no use to another.
std::vector<uint64_t> units_of(const Prompt& prompt, const std::string& adapter_id) {
  const uint64_t salt = std::hash<std::string>{}(adapter_id);
  std::vector<uint64_t> units;
  for (const PromptPart& part : prompt) {
    const uint64_t key = mix(salt, std::hash<std::string>{}(content_of(part)));
    for (int32_t i = 0; i < part.length(); ++i) {
      const bool is_token = !is_whole(part);
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
      return is_whole(part) ? begin : length;
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

std::vector<Tensor> PromptRunner::attachments(const Prompt& prompt, int32_t reused,
                                              const PassageMemory::Reader& reader) {
  std::vector<Tensor> out(prompt.size());
  std::vector<ApartPassage> passages;
  std::vector<size_t> places;
  int32_t begin = 0;
  for (size_t i = 0; i < prompt.size(); ++i) {
    const PromptPart& part = prompt[i];
    if (begin >= reused && is_apart(part)) {
      passages.push_back({part.document, part.tokens});
      places.push_back(i);
    }
    out[i] = part.kv;
    begin += part.length();
  }
  if (passages.empty()) {
    return out;
  }
  OB_REQUIRE(memory_ != nullptr, InvalidArgument, "parts read apart need a memory of passages");
  const std::vector<int32_t> beginning = beginning_of(prompt);
  const std::vector<Tensor> read = memory_->passages(beginning, passages, reader);
  for (size_t i = 0; i < read.size(); ++i) {
    out[places[i]] = read[i];
  }
  if (reused == 0 && !beginning.empty()) {
    const Tensor kv = memory_->beginning(beginning, reader);
    int64_t at = 0;
    // Behind slots tokens see the slots too, which the kept beginning does not: they are computed.
    for (size_t i = 0; i < prompt.size() && !is_whole(prompt[i]); ++i) {
      out[i] = rows_of(kv, at, at + prompt[i].length());
      at += prompt[i].length();
    }
  }
  return out;
}

PromptRun PromptRunner::run(const Prompt& prompt, const model::LoraAdapter* adapter,
                            const std::string& adapter_id) {
  OB_REQUIRE(!prompt.empty() && !prompt.back().tokens.empty() && !is_apart(prompt.back()),
             InvalidArgument, "a prompt ends with tokens");
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
  const std::vector<Tensor> attached = attachments(prompt, reused, {adapter, adapter_id});
  int32_t begin = 0;
  for (size_t i = 0; i < prompt.size(); ++i) {
    const PromptPart& part = prompt[i];
    const int32_t end = begin + part.length();
    const int32_t from = std::max(begin, reused) - begin;
    if (end > reused && attached[i].defined()) {
      decoder_.attach(out.sequence, attached[i]);
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
