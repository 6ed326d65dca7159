#include "src/evaluate/document_index.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "src/base/error.h"
#include "src/metrics/python_text.h"
#include "src/retrieve/fusion.h"
#include "src/store/sqlite.h"

namespace offbook::evaluate {
namespace {

constexpr double kK1 = 1.2;
constexpr double kB = 0.75;

std::vector<size_t> order_of(const std::vector<double>& scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  return order;
}

std::vector<int64_t> ids_of(const std::vector<size_t>& order) {
  return {order.begin(), order.end()};
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

DocumentIndex::DocumentIndex(std::string_view text, std::vector<ByteSpan> passages,
                             const PassageWords& words, model::SentenceEncoder* encoder)
    : text_(text), passages_(std::move(passages)), words_(words), encoder_(encoder) {
  for (const ByteSpan& span : passages_) {
    const std::string_view passage = text_.substr(span.begin, span.end - span.begin);
    terms_.push_back(words_.of(passage));
    mean_length_ += static_cast<double>(terms_.back().size());
    if (encoder_ != nullptr) {
      vectors_.push_back(encode(passage));
    }
  }
  mean_length_ /= static_cast<double>(std::max<size_t>(1, passages_.size()));
}

std::vector<float> DocumentIndex::encode(std::string_view text) const {
  const auto encoding = encoder_->tokenizer().encode(text, {.add_special = false});
  const auto room = static_cast<size_t>(encoder_->window() - 2);  // [CLS] and [SEP]
  // A window cut out of the text may tokenise to a few pieces more; an eighth is kept free for it.
  const size_t step = encoding.ids.size() <= room ? room : room - room / 8;
  std::vector<std::string_view> windows;
  for (size_t begin = 0; begin < encoding.ids.size(); begin += step) {
    const size_t end = std::min(begin + step, encoding.ids.size());
    const uint64_t from = encoding.spans[begin].begin;
    windows.push_back(text.substr(from, encoding.spans[end - 1].end - from));
  }
  std::vector<float> mean(static_cast<size_t>(encoder_->dim()));
  if (windows.empty()) {
    return mean;
  }
  const Tensor vectors = encoder_->encode(windows);
  for (int64_t i = 0; i < vectors.numel(); ++i) {
    mean[static_cast<size_t>(i % encoder_->dim())] += vectors.data<float>()[i];
  }
  const double length = std::sqrt(std::inner_product(mean.begin(), mean.end(), mean.begin(), 0.0));
  for (float& v : mean) {
    v = static_cast<float>(v / std::max(length, 1e-12));
  }
  return mean;
}

std::vector<double> DocumentIndex::bm25(const std::string& question) const {
  const std::vector<std::string> asked = words_.of(question);
  const std::set<std::string> wanted(asked.begin(), asked.end());
  std::map<std::string, int64_t> with;
  for (const std::string& term : wanted) {
    for (const auto& passage : terms_) {
      with[term] += std::find(passage.begin(), passage.end(), term) != passage.end();
    }
  }
  const auto n = static_cast<double>(terms_.size());
  std::vector<double> scores;
  for (const auto& passage : terms_) {
    double score = 0;
    for (const std::string& term : wanted) {
      const auto times = static_cast<double>(std::count(passage.begin(), passage.end(), term));
      const auto df = static_cast<double>(with[term]);
      const double idf = std::log(1 + (n - df + 0.5) / (df + 0.5));
      const double length = static_cast<double>(passage.size()) / std::max(mean_length_, 1.0);
      score += idf * times * (kK1 + 1) / (times + kK1 * (1 - kB + kB * length));
    }
    scores.push_back(score);
  }
  return scores;
}

std::vector<double> DocumentIndex::cosines(const std::string& question) const {
  const std::vector<float> asked = encode(question);
  std::vector<double> scores;
  for (const std::vector<float>& vector : vectors_) {
    scores.push_back(std::inner_product(asked.begin(), asked.end(), vector.begin(), 0.0));
  }
  return scores;
}

std::vector<size_t> DocumentIndex::rank(const std::string& question, retrieve::Mode mode) const {
  OB_REQUIRE(mode == retrieve::Mode::words || encoder_ != nullptr, InvalidArgument,
             "this way of ranking passages needs a sentence encoder");
  if (mode == retrieve::Mode::words) {
    return order_of(bm25(question));
  }
  if (mode == retrieve::Mode::meaning) {
    return order_of(cosines(question));
  }
  const std::vector<int64_t> rankings[] = {ids_of(order_of(bm25(question))),
                                           ids_of(order_of(cosines(question)))};
  const double weights[] = {1, 1};
  std::vector<size_t> out;
  for (const retrieve::Fused& fused : retrieve::reciprocal_rank_fusion(rankings, weights)) {
    out.push_back(static_cast<size_t>(fused.id));
  }
  return out;
}

}  // namespace offbook::evaluate
