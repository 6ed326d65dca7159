#include "src/evaluate/document_index.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <set>

#include "src/base/error.h"
#include "src/metrics/python_text.h"
#include "src/retrieve/fusion.h"
#include "src/store/sqlite.h"

namespace offbook::evaluate {
namespace {

std::vector<int64_t> ids_of(std::span<const double> scores) {
  const std::vector<size_t> order = retrieve::best_first(scores);
  return {order.begin(), order.end()};
}

// A vector of length 1 a text: that of its windows' mean where it is longer than the encoder reads.
std::vector<std::vector<float>> mean_vectors(std::span<const std::string_view> texts,
                                             model::SentenceEncoder& encoder) {
  const auto room = static_cast<size_t>(encoder.window() - 2);  // [CLS] and [SEP]
  std::vector<std::string_view> windows;
  std::vector<size_t> text_of;
  for (size_t t = 0; t < texts.size(); ++t) {
    if (texts[t].size() <= room && !texts[t].empty()) {  // a piece has at least a byte
      windows.push_back(texts[t]);
      text_of.push_back(t);
      continue;
    }
    const auto encoding = encoder.tokenizer().encode(texts[t], {.add_special = false});
    // A window cut out of the text may tokenise to a few pieces more; an eighth is kept free for
    // it.
    const size_t step = encoding.ids.size() <= room ? room : room - room / 8;
    for (size_t begin = 0; begin < encoding.ids.size(); begin += step) {
      const size_t end = std::min(begin + step, encoding.ids.size());
      const uint64_t from = encoding.spans[begin].begin;
      windows.push_back(texts[t].substr(from, encoding.spans[end - 1].end - from));
      text_of.push_back(t);
    }
  }
  const auto dim = static_cast<size_t>(encoder.dim());
  std::vector<std::vector<float>> means(texts.size(), std::vector<float>(dim));
  if (windows.empty()) {
    return means;
  }
  const Tensor vectors = encoder.encode(windows);
  for (size_t w = 0; w < windows.size(); ++w) {
    for (size_t i = 0; i < dim; ++i) {
      means[text_of[w]][i] += vectors.data<float>()[w * dim + i];
    }
  }
  for (std::vector<float>& mean : means) {
    const double length =
        std::sqrt(std::inner_product(mean.begin(), mean.end(), mean.begin(), 0.0));
    for (float& v : mean) {
      v = static_cast<float>(v / std::max(length, 1e-12));
    }
  }
  return means;
}

std::vector<std::vector<std::string>> words_of(std::string_view text,
                                               std::span<const ByteSpan> passages,
                                               const PassageWords& words) {
  std::vector<std::vector<std::string>> out;
  for (const ByteSpan& span : passages) {
    out.push_back(words.of(text.substr(span.begin, span.end - span.begin)));
  }
  return out;
}

}  // namespace

PassageWords::PassageWords()
    : db_(std::make_unique<store::Database>(
          store::DatabaseOptions{.path = ":memory:", .create = true})),
      cutter_(std::make_unique<store::WordCutter>(*db_)) {}

std::vector<std::string> PassageWords::of(std::string_view text) const {
  std::vector<std::string> out;
  cutter_->cut(text, [&](std::string_view term, std::string_view) { out.emplace_back(term); });
  return out;
}

std::vector<ByteSpan> word_passages(std::string_view text, int64_t words) {
  const std::vector<std::string_view> all = metrics::python_split(text);
  std::vector<ByteSpan> out;
  for (size_t begin = 0; begin < all.size(); begin += static_cast<size_t>(words)) {
    const std::string_view last = all[std::min(all.size(), begin + static_cast<size_t>(words)) - 1];
    out.push_back({static_cast<uint64_t>(all[begin].data() - text.data()),
                   static_cast<uint64_t>(last.data() + last.size() - text.data())});
  }
  return out;
}

std::vector<AskedQuestion> asked_questions(std::span<const std::string> questions,
                                           const PassageWords& words,
                                           model::SentenceEncoder* encoder) {
  std::vector<AskedQuestion> out(questions.size());
  for (size_t i = 0; i < questions.size(); ++i) {
    const std::vector<std::string> all = words.of(questions[i]);
    const std::set<std::string> different(all.begin(), all.end());
    out[i].terms.assign(different.begin(), different.end());
  }
  if (encoder != nullptr) {
    auto vectors =
        mean_vectors(std::vector<std::string_view>(questions.begin(), questions.end()), *encoder);
    for (size_t i = 0; i < questions.size(); ++i) {
      out[i].vector = std::move(vectors[i]);
    }
  }
  return out;
}

DocumentIndex::DocumentIndex(std::string_view text, std::vector<ByteSpan> passages,
                             const PassageWords& words, std::vector<std::vector<float>> vectors)
    : passages_(std::move(passages)),
      bm25_(words_of(text, passages_, words)),
      vectors_(std::move(vectors)) {}

std::vector<std::unique_ptr<DocumentIndex>> make_document_indexes(std::vector<IndexedText> texts,
                                                                  const PassageWords& words,
                                                                  model::SentenceEncoder* encoder) {
  std::vector<std::string_view> passages;
  for (const IndexedText& one : texts) {
    for (const ByteSpan& span : one.passages) {
      passages.push_back(one.text.substr(span.begin, span.end - span.begin));
    }
  }
  std::vector<std::vector<float>> vectors;
  if (encoder != nullptr) {
    vectors = mean_vectors(passages, *encoder);
  }
  std::vector<std::unique_ptr<DocumentIndex>> out;
  auto next = vectors.begin();
  for (IndexedText& one : texts) {
    std::vector<std::vector<float>> own;
    if (encoder != nullptr) {
      const auto end = next + static_cast<std::ptrdiff_t>(one.passages.size());
      own.assign(std::make_move_iterator(next), std::make_move_iterator(end));
      next = end;
    }
    out.push_back(
        std::make_unique<DocumentIndex>(one.text, std::move(one.passages), words, std::move(own)));
  }
  return out;
}

std::vector<double> DocumentIndex::cosines(const AskedQuestion& question) const {
  std::vector<double> scores;
  for (const std::vector<float>& vector : vectors_) {
    scores.push_back(
        std::inner_product(vector.begin(), vector.end(), question.vector.begin(), 0.0));
  }
  return scores;
}

std::vector<size_t> DocumentIndex::rank(const AskedQuestion& question, retrieve::Mode mode) const {
  const bool has_vectors = !question.vector.empty() && vectors_.size() == passages_.size();
  OB_REQUIRE(mode == retrieve::Mode::words || has_vectors, InvalidArgument,
             "this way of ranking passages needs a sentence encoder");
  if (mode == retrieve::Mode::words) {
    return retrieve::best_first(bm25_.scores(question.terms));
  }
  if (mode == retrieve::Mode::meaning) {
    return retrieve::best_first(cosines(question));
  }
  const std::vector<int64_t> rankings[] = {ids_of(bm25_.scores(question.terms)),
                                           ids_of(cosines(question))};
  const double weights[] = {1, 1};
  std::vector<size_t> out;
  for (const retrieve::Fused& fused : retrieve::reciprocal_rank_fusion(rankings, weights)) {
    out.push_back(static_cast<size_t>(fused.id));
  }
  return out;
}

}  // namespace offbook::evaluate
