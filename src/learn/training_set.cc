#include "src/learn/training_set.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "src/ingest/content_hash.h"
#include "src/metrics/text_scores.h"

namespace offbook::learn {
namespace {

constexpr size_t kFewestToSplit = 4;

// Examples of one document that ask the same thing.
using Group = std::vector<Example>;

std::map<std::string, std::map<std::string, Group>> grouped(std::vector<Example> examples,
                                                            uint64_t seed) {
  std::map<std::string, std::map<std::string, Group>> documents;
  for (Example& e : examples) {
    const std::string key =
        ingest::hash_text(std::to_string(seed) + '\n' + metrics::normalize_answer(e.question));
    documents[e.document_id][key].push_back(std::move(e));
  }
  return documents;
}

}  // namespace

ExampleSplit split_examples(std::vector<Example> examples, const SplitOptions& options) {
  OB_REQUIRE(options.held_out_share >= 0 && options.held_out_share < 1, InvalidArgument,
             "the share of questions held back is at least 0 and below 1, not {}",
             options.held_out_share);
  ExampleSplit split;
  for (auto& [document, groups] : grouped(std::move(examples), options.seed)) {
    auto share = static_cast<size_t>(
        std::lround(options.held_out_share * static_cast<double>(groups.size())));
    if (const auto least = static_cast<size_t>(options.min_held_out_of_large);
        groups.size() >= 2 * least) {
      share = std::max(share, least);
    }
    size_t left = groups.size() < kFewestToSplit
                      ? 0
                      : std::min(share, static_cast<size_t>(options.max_held_out_per_document));
    for (auto& [key, group] : groups) {
      auto& side = left > 0 ? split.held_out : split.training;
      left -= left > 0 ? 1 : 0;
      side.insert(side.end(), group.begin(), group.end());
    }
  }
  return split;
}

std::vector<Example> spread(const std::vector<Example>& examples, size_t count) {
  std::map<std::string, std::vector<const Example*>> documents;
  for (const Example& e : examples) {
    documents[e.document_id].push_back(&e);
  }
  std::vector<Example> out;
  for (size_t round = 0; out.size() < std::min(count, examples.size()); ++round) {
    for (const auto& [id, list] : documents) {
      if (round < list.size() && out.size() < count) {
        out.push_back(*list[round]);
      }
    }
  }
  return out;
}

std::vector<int32_t> answer_tokens(const text::Tokenizer& tokenizer, text::ChatFormat format,
                                   const std::string& answer) {
  std::vector<int32_t> ids = tokenizer.encode(answer, {.add_special = false}).ids;
  const std::vector<int32_t> stops = text::chat_stop_ids(tokenizer, format);
  OB_REQUIRE(!stops.empty(), Unsupported, "the tokeniser has no token that ends an answer");
  ids.push_back(stops.front());
  return ids;
}

SequenceSet make_sequences(const std::vector<Example>& examples, const PromptMaker& prompt_of,
                           const model::LanguageModel& model) {
  SequenceSet set;
  for (const Example& e : examples) {
    const answer::Prompt prompt = prompt_of(e.question);
    train::TrainingSequence sequence;
    for (const answer::PromptPart& part : prompt) {
      OB_REQUIRE(!(part.kv.defined() && sequence.kv.defined()), Unsupported,
                 "adapters are trained on text, soft tokens and one run of KV slots; part {} is "
                 "another run",
                 part.name);
      if (part.soft_tokens.defined()) {
        const auto at = static_cast<int32_t>(sequence.tokens.size());
        sequence.soft_tokens.push_back({at, part.soft_tokens, part.key});
        sequence.tokens.resize(sequence.tokens.size() +
                               static_cast<size_t>(part.soft_tokens.dim(0)));
      }
      if (part.kv.defined()) {
        sequence.kv = part.kv;
        sequence.kv_at = static_cast<int32_t>(sequence.tokens.size());
        sequence.kv_key = part.key;
      }
      sequence.tokens.insert(sequence.tokens.end(), part.tokens.begin(), part.tokens.end());
    }
    if (sequence.tokens.empty()) {
      ++set.not_asked;
      continue;
    }
    sequence.first_target = static_cast<int32_t>(sequence.tokens.size());
    const auto answer = answer_tokens(model.tokenizer(), model.chat_format(), e.answers.front());
    sequence.tokens.insert(sequence.tokens.end(), answer.begin(), answer.end());
    if (static_cast<int64_t>(sequence.tokens.size()) + sequence.kv_rows() >
        model.config().max_positions) {
      ++set.too_long;
      continue;
    }
    set.tokens += static_cast<int64_t>(sequence.tokens.size());
    set.sequences.push_back(std::move(sequence));
  }
  return set;
}

}  // namespace offbook::learn
