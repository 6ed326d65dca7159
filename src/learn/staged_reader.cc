#include "src/learn/staged_reader.h"

#include <algorithm>

#include "src/learn/host_logits.h"

namespace offbook::learn {
namespace {

// One prompt that is being continued.
struct Writing {
  explicit Writing(const text::Tokenizer& tokenizer, model::Sequence s)
      : sequence(std::move(s)), decoder(tokenizer) {}
  model::Sequence sequence;
  text::StreamDecoder decoder;
  std::string text;
  int32_t last = 0;
  bool is_done = false;
};

}  // namespace

std::vector<std::vector<int32_t>> StagedReader::stages(
    const std::vector<text::ChatMessage>& messages) const {
  const text::ChatPrompt chat = render_chat(model_.tokenizer(), model_.chat_format(), messages);
  std::vector<std::vector<int32_t>> out;
  size_t begin = 0;
  for (size_t i = 0; i <= chat.cuts.size(); ++i) {
    const size_t end = i < chat.cuts.size() ? chat.cuts[i] : chat.ids.size();
    out.emplace_back(chat.ids.begin() + static_cast<std::ptrdiff_t>(begin),
                     chat.ids.begin() + static_cast<std::ptrdiff_t>(end));
    begin = end;
  }
  return out;
}

model::Sequence StagedReader::follow(const model::Sequence& base, std::span<const int32_t> tokens) {
  model::Sequence sequence = base.fork();
  if (!tokens.empty()) {
    decoder_.append({.sequence = &sequence, .tokens = tokens, .wants_logits = false});
  }
  return sequence;
}

std::vector<std::string> StagedReader::complete(std::span<const Prompt> prompts, int max_tokens,
                                                bool (*is_done)(const std::string& text)) {
  const text::Tokenizer& tokenizer = model_.tokenizer();
  const std::vector<int32_t> stops = text::chat_stop_ids(tokenizer, model_.chat_format());
  std::vector<Writing> all;
  const auto accept = [&](Writing& w, int32_t token) {
    w.is_done = std::find(stops.begin(), stops.end(), token) != stops.end();
    if (!w.is_done) {
      w.last = token;
      w.text += w.decoder.push(token);
      w.is_done = is_done(w.text);
    }
  };
  for (const Prompt& p : prompts) {
    all.emplace_back(tokenizer, p.base->fork());
    const HostLogits logits(
        decoder_.ctx(), decoder_.append({.sequence = &all.back().sequence, .tokens = p.tokens}));
    accept(all.back(), likeliest(logits.row(0)));
  }
  for (int step = 1; step < max_tokens; ++step) {
    std::vector<Writing*> active;
    std::vector<model::Append> batch;
    for (Writing& w : all) {
      if (!w.is_done) {
        active.push_back(&w);
        batch.push_back({.sequence = &w.sequence, .tokens = std::span(&w.last, 1)});
      }
    }
    if (batch.empty()) {
      break;
    }
    const HostLogits logits(decoder_.ctx(), decoder_.append(batch));
    for (size_t i = 0; i < active.size(); ++i) {
      accept(*active[i], likeliest(logits.row(i)));
    }
  }
  std::vector<std::string> out;
  for (Writing& w : all) {
    out.push_back(w.text + w.decoder.finish());
  }
  return out;
}

double StagedReader::log_probability(const Prompt& prompt, std::span<const int32_t> answer) {
  model::Sequence sequence = prompt.base->fork();
  const HostLogits first(decoder_.ctx(),
                         decoder_.append({.sequence = &sequence, .tokens = prompt.tokens}));
  double sum = log_probability_of(first.row(0), answer.front());
  if (answer.size() > 1) {
    const Tensor hidden =
        decoder_.hidden_states({.sequence = &sequence, .tokens = answer.first(answer.size() - 1)});
    const backend::ArenaScope scope(decoder_.arena());
    const HostLogits logits(decoder_.ctx(), decoder_.model().logits(decoder_.ctx(), hidden));
    for (size_t i = 1; i < answer.size(); ++i) {
      sum += log_probability_of(logits.row(i - 1), answer[i]);
    }
  }
  return sum / static_cast<double>(answer.size());
}

}  // namespace offbook::learn
