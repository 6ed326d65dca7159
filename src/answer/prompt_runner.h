// Prompts in parts, run through a decoder with whatever beginning it has computed before.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "src/answer/passage_memory.h"
#include "src/model/decoder.h"

namespace offbook::answer {

// Whether the tokens of a part see all that stands before them, or only the prompt's beginning: the
// tokens in front of the first such part. The latter needs a PassageMemory.
enum class Reading : uint8_t { in_place, apart };

// A stretch of a prompt. Exactly one of tokens, soft_tokens and kv is set.
struct PromptPart {
  std::string name;  // for people: "system", "passages", "question"
  std::vector<int32_t> tokens;
  Tensor soft_tokens;  // [n, hidden]
  Tensor kv;           // [layer, 2, n, kv_head, head_dim], keys before RoPE
  // Names the content of soft_tokens or kv (the artefact's id): equal keys, equal content.
  std::string key;
  Reading reading = Reading::in_place;  // of tokens
  int64_t document = 0;                 // that a part read apart is of

  int32_t length() const;
};

using Prompt = std::vector<PromptPart>;

int32_t prompt_length(const Prompt& prompt);

struct PromptRun {
  model::Sequence sequence;
  Tensor logits;  // f32 [1, vocab] of the prompt's last row, until the decoder's next pass
  // Positions of the prompt: taken over, attached as they were stored, run through the model.
  int32_t reused_tokens = 0;
  int32_t attached_tokens = 0;
  int32_t computed_tokens = 0;
};

// Remembers the key/value pages of the last prompts and answers. A new prompt takes over the
// longest beginning that one of them shares with it (to the token, and to the whole part for soft
// tokens, KV prefixes and passages that are read apart) and computes the rest. Not thread-safe; the
// decoder must outlive it.
class PromptRunner {
 public:
  explicit PromptRunner(model::Decoder& decoder, size_t kept_prompts = 4)
      : decoder_(decoder), kept_prompts_(kept_prompts) {}

  // Where parts that are read apart come from, from now on; must outlive the runs.
  void set_memory(PassageMemory* memory) { memory_ = memory; }

  // At least one token at the end of the prompt is always computed, for its logits. The last part
  // must be tokens that are read in place. InvalidArgument for parts read apart without a memory.
  // Errors of Decoder::append; remembered prompts give way when the cache is full.
  PromptRun run(const Prompt& prompt, const model::LoraAdapter* adapter,
                const std::string& adapter_id);

  // Remembers what a run's sequence holds after an answer of these tokens.
  void keep(PromptRun run, const Prompt& prompt, const std::string& adapter_id,
            const std::vector<int32_t>& answer);

 private:
  struct Kept {
    std::vector<uint64_t> units;  // one a position
    model::Sequence sequence;
  };
  void make_room(int32_t tokens);
  // The keys and values of all parts but tokens read in place, by part; undefined elsewhere. Parts
  // in front of `reused` positions are left out.
  std::vector<Tensor> attachments(const Prompt& prompt, int32_t reused,
                                  const PassageMemory::Reader& reader);

  model::Decoder& decoder_;
  PassageMemory* memory_ = nullptr;
  size_t kept_prompts_;
  std::deque<Kept> kept_;  // oldest first
};

}  // namespace offbook::answer
