#include "src/compress/selective_context/surprisal.h"

#include <algorithm>

#include "src/backend/transfer.h"

namespace offbook::compress {
namespace {

// A stretch of one sentence that is read at once: ids[0] is the start token, and the values of
// ids[first…] are wanted.
struct Piece {
  size_t sentence = 0;
  size_t token = 0;  // of the sentence, that ids[first] is
  std::vector<int32_t> ids;
  size_t first = 1;
};

int32_t start_token(const text::Tokenizer& tokenizer, const SurprisalOptions& options) {
  std::optional<int32_t> id = options.start_token;
  if (!id) {
    id = tokenizer.vocabulary().find("<|endoftext|>");
  }
  if (!id) {
    id = tokenizer.special().bos;
  }
  if (!id) {
    id = tokenizer.special().eos;
  }
  return id.value_or(0);
}

// Cuts a sentence into pieces of at most `window` tokens.
void add_pieces(size_t sentence, const std::vector<int32_t>& ids, int32_t start, size_t window,
                std::vector<Piece>& out) {
  const size_t overlap = window / 8;
  for (size_t at = 0; at < ids.size();) {
    Piece piece{.sentence = sentence, .token = at, .ids = {start}};
    const size_t before = std::min(at, overlap);
    piece.first = 1 + before;
    const size_t end = std::min(ids.size(), at + window - 1 - before);
    piece.ids.insert(piece.ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(at - before),
                     ids.begin() + static_cast<std::ptrdiff_t>(end));
    out.push_back(std::move(piece));
    at = end;
  }
}

// One packed pass over some pieces.
void score_pieces(const backend::ExecutionContext& ctx, const model::Llama& model,
                  std::span<const Piece> pieces, Dtype activations,
                  std::vector<ScoredSentence>& out) {
  backend::ArenaScope scope(*ctx.arena);
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;
  std::vector<int32_t> positions;
  std::vector<model::PackedSequence> sequences;
  for (const Piece& piece : pieces) {
    // The last token predicts nothing that is asked for, so it is not read.
    const size_t rows = piece.ids.size() - 1;
    for (size_t i = 0; i < rows; ++i) {
      ids.push_back(piece.ids[i]);
      positions.push_back(static_cast<int32_t>(i));
      targets.push_back(i + 1 < piece.first ? -1 : piece.ids[i + 1]);
    }
    sequences.push_back({.length = static_cast<int32_t>(rows)});
  }
  const auto n = static_cast<int64_t>(ids.size());
  model::PackedAttention path(ctx, model.config(), model.inv_freq(),
                              {.sequences = sequences, .positions = positions});
  const model::Graph g{ctx};
  const Tensor x = model.embed(g, model::make_ints(ctx, ids, {n}), activations);
  const Tensor losses = autograd::linear_cross_entropy(
      g, model.run(g, x, path, {}), model.weights().lm_head, model::make_ints(ctx, targets, {n}));
  std::vector<float> host(ids.size());
  backend::download(ctx, losses, std::as_writable_bytes(std::span(host)));
  size_t row = 0;
  for (const Piece& piece : pieces) {
    ScoredSentence& sentence = out[piece.sentence];
    for (size_t i = piece.first; i < piece.ids.size(); ++i) {
      sentence.tokens[piece.token + i - piece.first].surprisal = host[row + i - 1];
    }
    row += piece.ids.size() - 1;
  }
}

}  // namespace

std::vector<ScoredSentence> score_sentences(const backend::ExecutionContext& ctx,
                                            const model::Llama& model,
                                            const text::Tokenizer& tokenizer,
                                            std::string_view collapsed,
                                            std::span<const ByteSpan> sentences,
                                            const SurprisalOptions& options) {
  const auto window =
      static_cast<size_t>(std::min<int64_t>(options.window, model.config().max_positions));
  OB_REQUIRE(options.window >= 16 && options.rows_per_pass >= 16, InvalidArgument,
             "a window of {} tokens and passes of {}: at least 16 each", options.window,
             options.rows_per_pass);
  const int32_t start = start_token(tokenizer, options);
  std::vector<ScoredSentence> out(sentences.size());
  std::vector<Piece> pieces;
  for (size_t s = 0; s < sentences.size(); ++s) {
    const ByteSpan& span = sentences[s];
    out[s].span = span;
    const text::Encoding encoding =
        tokenizer.encode(collapsed.substr(span.begin, span.end - span.begin),
                         {.add_special = false, .parse_added = false});
    for (const ByteSpan& token : encoding.spans) {
      out[s].tokens.push_back({{span.begin + token.begin, span.begin + token.end}, 0});
    }
    add_pieces(s, encoding.ids, start, window, pieces);
  }
  for (size_t begin = 0; begin < pieces.size();) {
    size_t end = begin;
    size_t rows = 0;
    do {
      rows += pieces[end].ids.size() - 1;
      ++end;
    } while (end < pieces.size() &&
             rows + pieces[end].ids.size() - 1 <= static_cast<size_t>(options.rows_per_pass));
    score_pieces(ctx, model, std::span(pieces).subspan(begin, end - begin), options.activations,
                 out);
    begin = end;
  }
  return out;
}

}  // namespace offbook::compress
