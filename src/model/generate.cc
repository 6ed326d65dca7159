#include "src/model/generate.h"

#include <algorithm>
#include <utility>

#include "src/backend/transfer.h"
#include "src/model/prompt_lookup.h"

namespace offbook::model {
namespace {

// Holds back text that may become a stop string.
class StopStrings {
 public:
  explicit StopStrings(const std::vector<std::string>& stops) : stops_(stops) {}

  // Adds text; true when a stop string is complete. `ready` gets what may be shown.
  bool push(std::string_view text, std::string& ready) {
    held_ += text;
    size_t first = std::string::npos;
    for (const std::string& stop : stops_) {
      if (!stop.empty()) {
        first = std::min(first, held_.find(stop));
      }
    }
    if (first != std::string::npos) {
      ready = held_.substr(0, first);
      held_.clear();
      return true;
    }
    const size_t keep = longest_beginning();
    ready = held_.substr(0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
    return false;
  }
  std::string rest() { return std::exchange(held_, {}); }

 private:
  // Length of the longest end of the held text that begins some stop string.
  size_t longest_beginning() const {
    size_t longest = 0;
    for (const std::string& stop : stops_) {
      for (size_t n = std::min(stop.size(), held_.size()); n > longest; --n) {
        if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) {
          longest = n;
        }
      }
    }
    return longest;
  }

  const std::vector<std::string>& stops_;
  std::string held_;
};

// Picks tokens one after another and runs the model behind them, with guesses in the same pass. On
// a GPU the likeliest is found there and only its id comes back.
class Chooser {
 public:
  // `logits`: behind the prompt.
  Chooser(Decoder& decoder, Sequence& sequence, const Tensor& logits,
          const GenerateOptions& options)
      : decoder_(decoder),
        sequence_(sequence),
        options_(options),
        logits_(logits),
        sampler_(options.sampling),
        lookup_(options.lookup),
        chosen_row_(static_cast<size_t>(decoder.model().config().vocab_size)),
        stays_(decoder.ctx().device() == Device::cuda && options.sampling.temperature == 0 &&
               options.sampling.repetition_penalty == 1) {}

  // The token behind what is in the sequence.
  int32_t choose(std::span<const int32_t> chosen) {
    if (pending_ >= 0) {
      return std::exchange(pending_, -1);
    }
    backend::download(decoder_.ctx(), logits_.slice(0, right_, right_ + 1),
                      std::as_writable_bytes(std::span(chosen_row_)));
    return sampler_.sample(chosen_row_, chosen);
  }

  // Appends a token to the sequence. `left`: tokens that may still be chosen behind it.
  void append(int32_t token, int32_t left) {
    if (stays_) {
      const Append one{
          .sequence = &sequence_, .tokens = std::span(&token, 1), .adapter = options_.adapter};
      decoder_.step(std::span(&one, 1), std::span(&pending_, 1));
      ++passes_;
      return;
    }
    lookup_.push(token);
    if (right_ < guesses() && draft_[static_cast<size_t>(right_)] == token) {
      ++right_;
      return;
    }
    settle();
    if (is_guessing()) {
      const auto draft = lookup_.draft(std::min(left, window_left() - 1));
      draft_.assign(draft.begin(), draft.end());
    }
    tokens_.assign(1, token);
    tokens_.insert(tokens_.end(), draft_.begin(), draft_.end());
    logits_ = decoder_.append({.sequence = &sequence_,
                               .tokens = tokens_,
                               .adapter = options_.adapter,
                               .logit_rows = static_cast<int32_t>(tokens_.size())});
    ++passes_;
  }

  // Takes guesses that were not chosen out of the sequence.
  void settle() {
    if (wrong() > 0) {
      const int32_t position = sequence_.next_position() - wrong();
      sequence_.truncate(sequence_.length() - wrong());
      sequence_.set_next_position(position);
    }
    lookup_.report(right_);
    draft_.clear();
    right_ = 0;
  }

  // Positions that the model has left behind what was chosen.
  int32_t window_left() const {
    return static_cast<int32_t>(decoder_.model().config().max_positions) -
           (sequence_.next_position() - wrong());
  }
  int32_t passes() const { return passes_; }

 private:
  int32_t guesses() const { return static_cast<int32_t>(draft_.size()); }
  int32_t wrong() const { return guesses() - right_; }
  // Only where the rows of a pass have the bits they have alone, and not with the last pages of a
  // cache that others share.
  bool is_guessing() const {
    return !options_.lookup.empty() && decoder_.ctx().device() == Device::cpu &&
           decoder_.cache().free_pages() >= 2;
  }

  Decoder& decoder_;
  Sequence& sequence_;
  const GenerateOptions& options_;
  Tensor logits_;  // [1 + guesses, vocab]
  int32_t pending_ = -1;
  Sampler sampler_;
  PromptLookup lookup_;
  std::vector<float> chosen_row_;
  std::vector<int32_t> draft_;  // guesses that the sequence holds
  std::vector<int32_t> tokens_;
  int32_t right_ = 0;  // guesses that were chosen so far
  int32_t passes_ = 0;
  bool stays_;
};

}  // namespace

Generated generate(Decoder& decoder, const text::Tokenizer& tokenizer, Sequence& sequence, const Tensor& logits,
                   const GenerateOptions& options) {
  OB_REQUIRE(options.max_tokens >= 0, InvalidArgument, "max_tokens is 0 or more, not {}", options.max_tokens);
  Generated out;
  Chooser chooser(decoder, sequence, logits, options);
  text::StreamDecoder text(tokenizer);
  StopStrings stops(options.stop_strings);
  const auto show = [&](const std::string& piece) {
    out.text += piece;
    return piece.empty() || !options.on_text || options.on_text(piece);
  };
  while (true) {
    if (static_cast<int32_t>(out.tokens.size()) >= options.max_tokens) {
      out.reason = StopReason::max_tokens;
      break;
    }
    const int32_t token = chooser.choose(out.tokens);
    if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), token) != options.stop_tokens.end()) {
      out.reason = StopReason::stop_token;
      break;
    }
    out.tokens.push_back(token);
    std::string ready;
    const bool stopped = stops.push(text.push(token), ready);
    if (!show(ready)) {
      out.reason = StopReason::cancelled;
      chooser.settle();
      return out;
    }
    if (stopped) {
      out.reason = StopReason::stop_string;
      chooser.settle();
      return out;
    }
    if (chooser.window_left() <= 0) {
      out.reason = StopReason::window_full;
      break;
    }
    chooser.append(token, options.max_tokens - static_cast<int32_t>(out.tokens.size()));
  }
  chooser.settle();
  out.passes = chooser.passes();
  std::string ready;
  if (stops.push(text.finish(), ready)) {
    out.reason = StopReason::stop_string;
  } else {
    ready += stops.rest();
  }
  show(ready);
  return out;
}

}  // namespace offbook::model
