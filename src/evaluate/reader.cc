#include "src/evaluate/reader.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "src/backend/transfer.h"
#include "src/base/error.h"
#include "src/ops/paged_attention/paged_attention.h"

namespace offbook::evaluate {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

constexpr int64_t kLossRows = 128;  // rows of the head's logits in memory at one time

}  // namespace

// One prompt on its way.
struct Reader::Row {
  const ReadPrompt* prompt = nullptr;
  Reading* out = nullptr;
  std::optional<model::Sequence> sequence;
  std::optional<model::Sampler> sampler;
  std::optional<text::StreamDecoder> text;
  std::vector<int32_t> tokens;
  int32_t next = 0;  // chosen, not yet computed
  bool is_done = false;
};

Reader::Reader(const compress::BaseModel& model, model::Decoder& decoder, int32_t batch)
    : tokenizer_(model.tokenizer), decoder_(decoder), batch_(batch) {
  if (model.chat_format) {
    ends_ = text::chat_stop_ids(tokenizer_, *model.chat_format);
  } else if (tokenizer_.special().eos) {
    ends_ = {*tokenizer_.special().eos};
  }
}

double Reader::take_head(const ReadPrompt& prompt) {
  if (head_ && head_key_ == prompt.head_key) {
    return 0;
  }
  const auto began = Clock::now();
  head_.reset();
  head_ = decoder_.make_sequence();
  head_key_ = prompt.head_key;
  for (const compress::ContextPart& part : prompt.head) {
    if (part.kv.defined()) {
      decoder_.attach(*head_, part.kv);
    } else {
      decoder_.append({.sequence = &*head_,
                       .tokens = part.tokens,
                       .soft_tokens = part.soft_tokens,
                       .adapter = prompt.adapter,
                       .wants_logits = false});
    }
  }
  return seconds_since(began);
}

void Reader::take_token(Row& row, const float* logits, const Decoding& decoding) {
  const auto vocabulary = static_cast<size_t>(decoder_.model().config().vocab_size);
  const int32_t token = row.sampler->sample(std::span(logits, vocabulary), row.tokens);
  row.is_done = std::find(ends_.begin(), ends_.end(), token) != ends_.end();
  if (row.is_done) {
    row.out->text += row.text->finish();
    return;
  }
  row.tokens.push_back(token);
  row.next = token;
  row.out->tokens = static_cast<int32_t>(row.tokens.size());
  row.out->text += row.text->push(token);
  for (const std::string& stop : decoding.stop) {
    // An answer may begin with line ends that say nothing; a stop text counts behind its first
    // word.
    const size_t first = row.out->text.find_first_not_of(" \n");
    const size_t at = first == std::string::npos ? first : row.out->text.find(stop, first);
    if (at != std::string::npos) {
      row.out->text.resize(at);
      row.is_done = true;
      return;
    }
  }
  if (row.out->tokens >= decoding.max_tokens) {
    row.out->text += row.text->finish();
    row.is_done = true;
  }
}

void Reader::read_group(std::vector<Row>& rows, const Decoding& decoding) {
  const auto vocabulary = static_cast<size_t>(decoder_.model().config().vocab_size);
  for (Row& row : rows) {
    const double seconds = take_head(*row.prompt);
    row.out->is_cold = seconds > 0 || row.prompt->head.empty();
    const auto began = Clock::now();
    row.sequence = head_->fork();
    const Tensor logits = decoder_.append(
        {.sequence = &*row.sequence, .tokens = row.prompt->tail, .adapter = row.prompt->adapter});
    logits_.resize(vocabulary);
    backend::download(decoder_.ctx(), logits, std::as_writable_bytes(std::span(logits_)));
    take_token(row, logits_.data(), decoding);
    row.out->prompt_seconds = seconds + seconds_since(began);
  }
  while (true) {
    std::vector<Row*> open;
    std::vector<model::Append> appends;
    for (Row& row : rows) {
      if (row.is_done) {
        row.sequence.reset();
        continue;
      }
      open.push_back(&row);
      appends.push_back({.sequence = &*row.sequence,
                         .tokens = std::span(&row.next, 1),
                         .adapter = row.prompt->adapter});
    }
    if (open.empty()) {
      return;
    }
    const auto began = Clock::now();
    const Tensor logits = decoder_.append(appends);
    logits_.resize(vocabulary * open.size());
    backend::download(decoder_.ctx(), logits, std::as_writable_bytes(std::span(logits_)));
    for (size_t i = 0; i < open.size(); ++i) {
      take_token(*open[i], logits_.data() + i * vocabulary, decoding);
    }
    const double seconds = seconds_since(began) / static_cast<double>(open.size());
    for (Row* row : open) {
      row->out->decode_seconds += seconds;
    }
  }
}

std::vector<Reading> Reader::read(const std::vector<ReadPrompt>& prompts,
                                  const Decoding& decoding) {
  const int64_t capacity = decoder_.cache().pages() - 1;
  std::vector<Reading> out(prompts.size());
  for (size_t begin = 0; begin < prompts.size();) {
    std::vector<Row> rows;
    if (head_key_ != prompts[begin].head_key) {
      head_.reset();
    }
    int64_t pages = head_ ? static_cast<int64_t>(head_->pages().size()) : 0;
    size_t end = begin;
    while (end < prompts.size() && rows.size() < static_cast<size_t>(batch_)) {
      const ReadPrompt& prompt = prompts[end];
      const bool shares =
          rows.empty() ? head_.has_value() : rows.back().prompt->head_key == prompt.head_key;
      const int64_t tokens = (shares ? static_cast<int64_t>(prompt.tail.size()) : prompt.tokens()) +
                             decoding.max_tokens;
      // A shared last page is copied; a head stays beside the first of its prompts.
      const int64_t wanted = tokens / ops::kPageTokens + 3;
      if (!rows.empty() && pages + wanted > capacity) {
        break;
      }
      OB_REQUIRE(wanted <= capacity, InvalidArgument,
                 "a prompt of {} tokens with an answer of {} does not fit a cache of {}",
                 prompt.tokens(), decoding.max_tokens, capacity * ops::kPageTokens);
      pages += wanted;
      Row& row = rows.emplace_back();
      row.prompt = &prompt;
      row.out = &out[end];
      row.text.emplace(tokenizer_);
      row.sampler.emplace(
          model::SamplingOptions{.temperature = decoding.temperature,
                                 .seed = end < decoding.seeds.size() ? decoding.seeds[end] : 0});
      ++end;
    }
    read_group(rows, decoding);
    begin = end;
  }
  for (Reading& reading : out) {
    const size_t first = reading.text.find_first_not_of(" \t\n");
    reading.text.erase(0, std::min(first, reading.text.size()));
    const size_t last = reading.text.find_last_not_of(" \t\n");
    reading.text.resize(last == std::string::npos ? 0 : last + 1);
  }
  return out;
}

ContinuationLoss Reader::loss(const ReadPrompt& prompt) {
  take_head(prompt);
  model::Sequence sequence = head_->fork();
  // The head's last row predicts the tail's first token, which therefore counts only from the
  // second on: the same for every way of giving the context.
  const Tensor hidden = decoder_.hidden_states(
      {.sequence = &sequence, .tokens = prompt.tail, .adapter = prompt.adapter});
  const auto rows = static_cast<int64_t>(prompt.tail.size()) - 1;
  const auto vocabulary = static_cast<size_t>(decoder_.model().config().vocab_size);
  ContinuationLoss out{.tokens = rows};
  for (int64_t begin = 0; begin < rows; begin += kLossRows) {
    const int64_t end = std::min(rows, begin + kLossRows);
    backend::ArenaScope scope(decoder_.arena());
    const Tensor logits = decoder_.model().logits(decoder_.ctx(), hidden.slice(0, begin, end));
    logits_.resize(vocabulary * static_cast<size_t>(end - begin));
    backend::download(decoder_.ctx(), logits, std::as_writable_bytes(std::span(logits_)));
    for (int64_t r = begin; r < end; ++r) {
      const float* row = logits_.data() + static_cast<size_t>(r - begin) * vocabulary;
      const float most = *std::max_element(row, row + vocabulary);
      double sum = 0;
      for (size_t v = 0; v < vocabulary; ++v) {
        sum += std::exp(static_cast<double>(row[v] - most));
      }
      const auto target = static_cast<size_t>(prompt.tail[static_cast<size_t>(r + 1)]);
      out.nll_sum += std::log(sum) + most - row[target];
    }
  }
  return out;
}

}  // namespace offbook::evaluate
