#include "src/evaluate/reader.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "src/backend/transfer.h"
#include "src/base/error.h"
#include "src/ops/paged_attention/paged_attention.h"
#include "src/ops/registry.h"

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

Reader::Reader(const compress::BaseModel& model, model::Decoder& decoder, int32_t batch,
               int32_t pass_rows)
    : tokenizer_(model.tokenizer),
      decoder_(decoder),
      batch_(batch),
      pass_rows_(static_cast<size_t>(pass_rows)) {
  if (model.chat_format) {
    ends_ = text::chat_stop_ids(tokenizer_, *model.chat_format);
  } else if (tokenizer_.special().eos) {
    ends_ = {*tokenizer_.special().eos};
  }
}

size_t Reader::pass_end(size_t begin, size_t end,
                        const std::function<size_t(size_t)>& rows_of) const {
  size_t rows = rows_of(begin);
  size_t at = begin + 1;
  while (batch_ > kSameBits && at < end && rows + rows_of(at) <= pass_rows_) {
    rows += rows_of(at++);
  }
  return at;
}

void Reader::take_head(const ReadPrompt& prompt) {
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
}

// The heads of several runs of rows, each one run of tokens, in one pass.
void Reader::take_heads(std::span<const std::span<Row>> runs) {
  std::vector<model::Append> appends;
  for (const std::span<Row> run : runs) {
    Row& first = run.front();
    first.sequence = decoder_.make_sequence();
    appends.push_back({.sequence = &*first.sequence,
                       .tokens = first.prompt->head.front().tokens,
                       .adapter = first.prompt->adapter,
                       .wants_logits = false});
  }
  decoder_.append(appends);
  head_ = runs.back().front().sequence->fork();
  head_key_ = runs.back().front().prompt->head_key;
}

// Every row gets a sequence with its head; the first row of a head pays for it.
void Reader::start_rows(std::vector<Row>& rows) {
  std::vector<std::span<Row>> runs;  // of rows with one head
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin + 1;
    while (end < rows.size() && rows[end].prompt->head_key == rows[begin].prompt->head_key) {
      ++end;
    }
    runs.push_back(std::span(rows).subspan(begin, end - begin));
    begin = end;
  }
  const auto tokens_of = [&](size_t run) {
    const auto& head = runs[run].front().prompt->head;
    return head.size() == 1 && !head.front().tokens.empty() ? head.front().tokens.size()
                                                            : pass_rows_;  // by itself
  };
  size_t begin = 0;
  if (head_ && head_key_ == rows.front().prompt->head_key) {
    runs.front().front().sequence = head_->fork();
    begin = 1;
  }
  while (begin < runs.size()) {
    const auto began = Clock::now();
    const size_t end = pass_end(begin, runs.size(), tokens_of);
    if (end == begin + 1) {
      take_head(*runs[begin].front().prompt);
      runs[begin].front().sequence = head_->fork();
    } else {
      take_heads(std::span(runs).subspan(begin, end - begin));
    }
    const double share = seconds_since(began) / static_cast<double>(end - begin);
    for (; begin < end; ++begin) {
      runs[begin].front().out->is_cold = true;
      runs[begin].front().out->prompt_seconds = share;
    }
  }
  for (const std::span<Row> run : runs) {
    for (Row& row : run.subspan(1)) {
      row.sequence = run.front().sequence->fork();
      row.out->is_cold = row.prompt->head.empty();
    }
  }
}

void Reader::take_token(Row& row, int32_t token, const Decoding& decoding) {
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

// Greedy choices are made where the logits lie: only ids travel.
void Reader::take_tokens(std::span<Row* const> rows, const Tensor& logits,
                         const Decoding& decoding) {
  if (decoding.temperature == 0) {
    std::vector<int32_t> chosen(rows.size());
    const backend::ExecutionContext& ctx = decoder_.ctx();
    const Tensor ids = ctx.make(Dtype::i32, {static_cast<int64_t>(rows.size())});
    ops::argmax(ctx, {.x = logits, .out = ids});
    backend::download(ctx, ids, std::as_writable_bytes(std::span(chosen)));
    for (size_t i = 0; i < rows.size(); ++i) {
      take_token(*rows[i], chosen[i], decoding);
    }
    return;
  }
  const auto vocabulary = static_cast<size_t>(decoder_.model().config().vocab_size);
  logits_.resize(vocabulary * rows.size());
  backend::download(decoder_.ctx(), logits, std::as_writable_bytes(std::span(logits_)));
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::span<const float> own(logits_.data() + i * vocabulary, vocabulary);
    take_token(*rows[i], rows[i]->sampler->sample(own, rows[i]->tokens), decoding);
  }
}

void Reader::read_tails(std::vector<Row>& rows, const Decoding& decoding) {
  const auto rows_of = [&](size_t i) { return rows[i].prompt->tail.size(); };
  for (size_t begin = 0; begin < rows.size();) {
    const size_t end = pass_end(begin, rows.size(), rows_of);
    const auto began = Clock::now();
    std::vector<Row*> several;
    std::vector<model::Append> appends;
    for (size_t i = begin; i < end; ++i) {
      several.push_back(&rows[i]);
      appends.push_back({.sequence = &*rows[i].sequence,
                         .tokens = rows[i].prompt->tail,
                         .adapter = rows[i].prompt->adapter});
    }
    take_tokens(several, decoder_.append(appends), decoding);
    for (Row* row : several) {
      row->out->prompt_seconds += seconds_since(began) / static_cast<double>(several.size());
    }
    begin = end;
  }
}

void Reader::read_group(std::vector<Row>& rows, const Decoding& decoding) {
  start_rows(rows);
  read_tails(rows, decoding);
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
    take_tokens(open, decoder_.append(appends), decoding);
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
  if (!head_ || head_key_ != prompt.head_key) {
    take_head(prompt);
  }
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
