#include "src/model/generate.h"

#include <algorithm>
#include <utility>

#include "src/backend/transfer.h"

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

// Picks tokens one after another. On a GPU the likeliest is found there and only its id comes back.
class Chooser {
 public:
  Chooser(Decoder& decoder, Sequence& sequence, const Tensor& logits,
          const GenerateOptions& options)
      : decoder_(decoder),
        sequence_(sequence),
        logits_(logits),
        adapter_(options.adapter),
        sampler_(options.sampling),
        row_(static_cast<size_t>(decoder.model().config().vocab_size)),
        stays_(decoder.ctx().device() == Device::cuda && options.sampling.temperature == 0 &&
               options.sampling.repetition_penalty == 1) {}

  // The token behind what is in the sequence.
  int32_t choose(std::span<const int32_t> chosen) {
    if (pending_ >= 0) {
      return std::exchange(pending_, -1);
    }
    backend::download(decoder_.ctx(), logits_, std::as_writable_bytes(std::span(row_)));
    return sampler_.sample(row_, chosen);
  }

  // Appends a token to the sequence.
  void append(int32_t token) {
    const Append one{.sequence = &sequence_, .tokens = std::span(&token, 1), .adapter = adapter_};
    if (stays_) {
      decoder_.step(std::span(&one, 1), std::span(&pending_, 1));
    } else {
      logits_ = decoder_.append(one);
    }
  }

 private:
  Decoder& decoder_;
  Sequence& sequence_;
  Tensor logits_;
  int32_t pending_ = -1;
  const LoraAdapter* adapter_;
  Sampler sampler_;
  std::vector<float> row_;
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
      return out;
    }
    if (stopped) {
      out.reason = StopReason::stop_string;
      return out;
    }
    if (sequence.next_position() >= decoder.model().config().max_positions) {
      out.reason = StopReason::window_full;
      break;
    }
    chooser.append(token);
  }
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
