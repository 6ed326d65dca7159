#include "src/compress/quito/quito.h"

#include <algorithm>
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
             std::optional<text::ChatFormat> format)
      : tokenizer_(tokenizer), question_(question), format_(format) {
    const size_t around = make("").row.ids.size();
    const auto window = static_cast<size_t>(model.config().max_positions);
    OB_REQUIRE(around + 16 <= window, InvalidArgument,
               "a question of {} tokens with its prompt; the model's window is {}", around, window);
    room_ = window - around;
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
  size_t room_ = 0;
};

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
      WeightedText& text = out[pieces[i].document];
      for (const ByteSpan& span : pieces[i].prompt.spans) {
        text.spans.push_back({pieces[i].begin + span.begin, pieces[i].begin + span.end});
      }
      text.weights.insert(text.weights.end(), weights[i - begin].begin(), weights[i - begin].end());
    }
    begin = end;
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
