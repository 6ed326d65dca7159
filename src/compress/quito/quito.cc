#include "src/compress/quito/quito.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "src/ingest/sentences.h"

namespace offbook::compress {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\r\f\v";

// A stretch of a document that is read at once.
struct Piece {
  size_t document = 0;
  uint64_t begin = 0;  // of its text in the document
  QuitoPrompt prompt;
};

class PieceMaker {
 public:
  PieceMaker(const model::Llama& model, const text::Tokenizer& tokenizer, std::string_view question,
             std::optional<text::ChatFormat> format, size_t room_step = 1)
      : tokenizer_(tokenizer), question_(question), format_(format), around_(make("").row) {
    const size_t around = around_.ids.size();
    const auto window = static_cast<size_t>(model.config().max_positions);
    OB_REQUIRE(around + 16 <= window, InvalidArgument,
               "a question of {} tokens with its prompt; the model's window is {}", around, window);
    const size_t rounded = (around + room_step - 1) / room_step * room_step;
    room_ = rounded + 16 <= window ? window - rounded : window - around;
  }

  // Tokens of a document that one prompt has room for.
  size_t room() const { return room_; }

  // The prompt with a document's tokens: the same as of its text, which need not be cut again.
  RowPrompt with(std::span<const int32_t> document) const {
    RowPrompt out{.begin = around_.begin,
                  .end = around_.begin + document.size(),
                  .question_end = around_.question_end + document.size()};
    const auto begin = around_.ids.begin() + static_cast<std::ptrdiff_t>(around_.begin);
    out.ids.assign(around_.ids.begin(), begin);
    out.ids.insert(out.ids.end(), document.begin(), document.end());
    out.ids.insert(out.ids.end(), begin, around_.ids.end());
    return out;
  }

  void add(size_t document, std::string_view text, std::vector<Piece>& out) const {
    const size_t begin = text.find_first_not_of(kWhiteSpace);
    if (begin == std::string_view::npos) {
      return;
    }
    cut(document, text, {begin, text.find_last_not_of(kWhiteSpace) + 1}, out);
  }

 private:
  QuitoPrompt make(std::string_view document) const {
    return make_quito_prompt(tokenizer_, format_, document, question_);
  }

  // In halves at white space, until a piece has room: pieces of a document are of nearly one
  // length, so that their weights, which add up to one in each, compare.
  void cut(size_t document, std::string_view text, ByteSpan span, std::vector<Piece>& out) const {
    const std::string_view part = text.substr(span.begin, span.end - span.begin);
    Piece piece{document, span.begin, make(part)};
    if (piece.prompt.spans.size() <= room_) {
      out.push_back(std::move(piece));
      return;
    }
    size_t middle = part.find_last_of(kWhiteSpace, part.size() / 2);
    middle = middle == std::string_view::npos ? part.size() / 2 : middle;
    while ((static_cast<unsigned char>(part[middle]) & 0xc0) == 0x80) {
      --middle;
    }
    for (const ByteSpan& half :
         {ByteSpan{span.begin, span.begin + middle}, ByteSpan{span.begin + middle, span.end}}) {
      const std::string_view rest = text.substr(half.begin, half.end - half.begin);
      const size_t first = rest.find_first_not_of(kWhiteSpace);
      if (first != std::string_view::npos) {
        cut(document, text,
            {half.begin + first, half.begin + rest.find_last_not_of(kWhiteSpace) + 1}, out);
      }
    }
  }

  const text::Tokenizer& tokenizer_;
  std::string_view question_;
  std::optional<text::ChatFormat> format_;
  RowPrompt around_;  // of no document
  size_t room_ = 0;
};

void add_piece(const Piece& piece, std::span<const double> weights, WeightedText& to) {
  for (const ByteSpan& span : piece.prompt.spans) {
    to.spans.push_back({piece.begin + span.begin, piece.begin + span.end});
  }
  to.weights.insert(to.weights.end(), weights.begin(), weights.end());
}

void normalise(std::vector<double>& weights, const QuitoOptions& options) {
  if (options.leaves_out_first_token && !weights.empty()) {
    weights.front() = 0;
  }
  if (options.weights == QuitoWeights::published) {
    softmax(weights);
    return;
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) {
    w /= sum > 0 ? sum : 1;
  }
}

QuitoText join_words(std::string_view document, std::span<const Word> words,
                     std::vector<int32_t> kept, QuitoRules rules) {
  QuitoText out;
  for (const int32_t i : kept) {
    ByteSpan span = words[static_cast<size_t>(i)].span;
    if (rules != QuitoRules::exact || out.text.empty()) {
      span.begin = std::min<uint64_t>(document.find_first_not_of(' ', span.begin), span.end);
    }
    if (rules != QuitoRules::exact && !out.text.empty()) {
      out.text += ' ';
    }
    out.text += document.substr(span.begin, span.end - span.begin);
    if (!out.spans.empty() && out.spans.back().end == span.begin) {
      out.spans.back().end = span.end;
    } else {
      out.spans.push_back(span);
    }
  }
  out.words = std::move(kept);
  return out;
}

}  // namespace

std::vector<WeightedText> weigh_documents(const backend::ExecutionContext& ctx,
                                          const model::Llama& model,
                                          const text::Tokenizer& tokenizer,
                                          std::span<const std::string_view> documents,
                                          std::string_view question, const QuitoOptions& options) {
  const PieceMaker maker(model, tokenizer, question, options.chat_format);
  std::vector<Piece> pieces;
  for (size_t d = 0; d < documents.size(); ++d) {
    maker.add(d, documents[d], pieces);
  }
  std::vector<WeightedText> out(documents.size());
  for (size_t begin = 0; begin < pieces.size();) {
    std::vector<RowPrompt> prompts;
    size_t rows = 0;
    size_t end = begin;
    do {
      rows += pieces[end].prompt.row.ids.size();
      prompts.push_back(pieces[end].prompt.row);
      ++end;
    } while (end < pieces.size() && rows + pieces[end].prompt.row.ids.size() <=
                                        static_cast<size_t>(std::max(options.rows_per_pass, 1)));
    const std::vector<std::vector<double>> weights =
        attention_rows(ctx, model, prompts, options.rows);
    for (size_t i = begin; i < end; ++i) {
      add_piece(pieces[i], weights[i - begin], out[pieces[i].document]);
    }
    begin = end;
  }
  for (WeightedText& text : out) {
    normalise(text.weights, options);
  }
  return out;
}

namespace {

// Prompts of fewer document tokens are read whole, question by question.
constexpr size_t kSharedTokens = 512;
// So that most questions cut a document that is longer than the window at the same places.
constexpr size_t kRoomStep = 64;

// The rows of several questions on one piece of a document, from its own first token on.
std::vector<std::vector<double>> rows_of_piece(const backend::ExecutionContext& ctx,
                                               const model::Llama& model,
                                               std::span<const RowPrompt> prompts,
                                               const AttentionRowOptions& options) {
  if (prompts.front().end - prompts.front().begin > kSharedTokens) {
    return attention_rows_behind(ctx, model, prompts, options);
  }
  std::vector<std::vector<double>> out;
  for (const RowPrompt& prompt : prompts) {
    out.push_back(attention_rows(ctx, model, std::span(&prompt, 1), options).front());
  }
  return out;
}

}  // namespace

std::vector<WeightedText> weigh_questions(const backend::ExecutionContext& ctx,
                                          const model::Llama& model,
                                          const text::Tokenizer& tokenizer,
                                          std::string_view document,
                                          std::span<const std::string_view> questions,
                                          const QuitoOptions& options) {
  std::vector<PieceMaker> makers;
  std::map<size_t, std::vector<size_t>> by_room;
  for (size_t q = 0; q < questions.size(); ++q) {
    makers.emplace_back(model, tokenizer, questions[q], options.chat_format, kRoomStep);
    by_room[makers.back().room()].push_back(q);
  }
  std::vector<WeightedText> out(questions.size());
  for (const auto& [room, group] : by_room) {
    std::vector<Piece> pieces;
    makers[group.front()].add(0, document, pieces);
    for (const Piece& piece : pieces) {
      const RowPrompt& row = piece.prompt.row;
      const auto tokens = std::span(row.ids).subspan(row.begin, row.end - row.begin);
      std::vector<RowPrompt> prompts;
      for (const size_t q : group) {
        prompts.push_back(makers[q].with(tokens));
      }
      const auto weights = rows_of_piece(ctx, model, prompts, options.rows);
      for (size_t i = 0; i < group.size(); ++i) {
        add_piece(piece, weights[i], out[group[i]]);
      }
    }
  }
  for (WeightedText& text : out) {
    normalise(text.weights, options);
  }
  return out;
}

QuitoText filter_document(std::string_view document, const WeightedText& weighted,
                          std::span<const ByteSpan> sentences,
                          const std::function<int64_t(std::string_view)>& count,
                          const QuitoFilterOptions& options) {
  const std::vector<Word> words = merge_words(document, weighted.spans, weighted.weights);
  std::vector<int32_t> ends;
  if (options.filter != QuitoFilter::phrase) {
    ends = sentences.empty() ? sentence_ends(document, words, ingest::split_sentences(document))
                             : sentence_ends(document, words, sentences);
  }
  QuitoFilterOptions narrowed = options;
  for (;;) {
    QuitoText out = join_words(document, words, keep_words(words, ends, narrowed), options.rules);
    const int64_t over = options.token_budget ? count(out.text) - *options.token_budget : 0;
    if (over <= 0 || out.words.empty()) {
      return out;
    }
    // Joined words may read as more tokens than they were cut from: then fewer are kept.
    narrowed.token_budget = std::max<int64_t>(0, *narrowed.token_budget - over);
  }
}

}  // namespace offbook::compress
