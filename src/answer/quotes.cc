#include "src/answer/quotes.h"

#include <algorithm>
#include <cmath>

#include "src/ingest/sentences.h"
#include "src/retrieve/content_words.h"

namespace offbook::answer {
namespace {

bool is_number(const std::string& word) {
  return std::any_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool holds(const std::vector<std::string>& sorted, const std::string& word) {
  return std::binary_search(sorted.begin(), sorted.end(), word);
}

// At most `most` bytes from the front, ending between words where there is a blank.
ByteSpan shortened(std::string_view text, ByteSpan span, size_t most) {
  if (span.end - span.begin <= most) {
    return span;
  }
  const std::string_view part = text.substr(span.begin, most);
  const size_t blank = part.find_last_of(" \n\t");
  size_t length = blank != std::string_view::npos && blank > most / 2 ? blank : most;
  while (length > 0 && (static_cast<unsigned char>(text[span.begin + length]) & 0xC0) == 0x80) {
    --length;
  }
  return {span.begin, span.begin + length};
}

}  // namespace

QuoteFinder::QuoteFinder(store::Corpus& corpus, SentenceVectors* vectors,
                         const std::string& question, const retrieve::Retrieval& retrieval,
                         const QuoteOptions& options)
    : cutter_(corpus.db()), options_(options), question_(words_of(question)) {
  const auto count = static_cast<size_t>(options.passages);
  for (const retrieve::RankedPassage& ranked : retrieval.passages) {
    largest_bm25_ = std::max(largest_bm25_, ranked.bm25);
  }
  for (size_t i = 0; i < std::min(count, retrieval.passages.size()); ++i) {
    add_passage(retrieval.passages[i], static_cast<int>(i));
  }
  for (const Candidate& c : candidates_) {
    for (const std::string& word : c.words) {
      ++counts_[word];
    }
  }
  if (vectors != nullptr && !retrieval.query_vector.empty()) {
    embed(*vectors, retrieval.query_vector);
  }
  sentences_.clear();  // the retrieval may go
}

QuoteFinder::Words QuoteFinder::words_of(std::string_view text) const {
  return retrieve::content_words(cutter_, text);
}

void QuoteFinder::add_passage(const retrieve::RankedPassage& ranked, int rank) {
  sentences_.push_back({.document = store::document_of(ranked.passage.id)});
  for (const ByteSpan paragraph : ingest::split_paragraphs(ranked.passage.text)) {
    const std::string_view text = std::string_view(ranked.passage.text)
                                      .substr(paragraph.begin, paragraph.end - paragraph.begin);
    for (const ByteSpan s : ingest::split_sentences(text)) {
      add_sentence(ranked, rank, {paragraph.begin + s.begin, paragraph.begin + s.end});
    }
  }
}

void QuoteFinder::add_sentence(const retrieve::RankedPassage& ranked, int rank,
                               ByteSpan in_passage) {
  const Passage& passage = ranked.passage;
  const ByteSpan part = shortened(passage.text, in_passage, options_.max_bytes);
  const ByteSpan span{passage.span.begin + part.begin, passage.span.begin + part.end};
  const int64_t document = store::document_of(passage.id);
  if (part.begin == part.end) {
    return;
  }
  PassageSentences& all = sentences_.back();
  all.texts.push_back(std::string_view(passage.text).substr(part.begin, part.end - part.begin));
  const bool is_known = std::any_of(candidates_.begin(), candidates_.end(), [&](const auto& c) {
    return c.quote.document == document && c.quote.span == span;  // of an overlap
  });
  if (is_known) {
    return;
  }
  Candidate c{.quote = {.document = document,
                        .passage_id = passage.id,
                        .path = ranked.path,
                        .headings = passage.headings,
                        .page = passage.page,
                        .span = span,
                        .text = passage.text.substr(part.begin, part.end - part.begin),
                        .rank = rank,
                        .bm25_share = largest_bm25_ > 0 ? ranked.bm25 / largest_bm25_ : 0},
              .passage = sentences_.size() - 1,
              .sentence = std::ssize(all.texts) - 1};
  c.words = words_of(c.quote.text);
  candidates_.push_back(std::move(c));
}

void QuoteFinder::embed(SentenceVectors& vectors, const std::vector<float>& query) {
  const std::vector<Tensor> rows = vectors.of(sentences_);
  for (Candidate& c : candidates_) {
    const Tensor& of_passage = rows[c.passage];
    const float* row = of_passage.data<float>() + c.sentence * of_passage.dim(1);
    double sum = 0;
    for (size_t k = 0; k < query.size(); ++k) {
      sum += static_cast<double>(row[k]) * query[k];
    }
    c.quote.cosine = sum;
  }
}

double QuoteFinder::weight(const std::string& word) const {
  const auto it = counts_.find(word);
  const double count = it == counts_.end() ? 0 : it->second;
  return std::log(1 + static_cast<double>(candidates_.size()) / (count + 0.5));
}

double QuoteFinder::share(const Words& wanted, const Words& there) const {
  double all = 0, found = 0;
  for (const std::string& word : wanted) {
    all += weight(word);
    found += holds(there, word) ? weight(word) : 0;
  }
  return all > 0 ? found / all : 0;
}

std::vector<Quote> QuoteFinder::best(std::string_view answer, size_t count) const {
  Words novel;
  for (const std::string& word : words_of(answer)) {
    if (!holds(question_, word)) {
      novel.push_back(word);
    }
  }
  std::vector<Quote> quotes;
  for (const Candidate& c : candidates_) {
    Quote q = c.quote;
    q.question_share = share(question_, c.words);
    q.answer_share = share(novel, c.words);
    q.score = q.cosine + options_.question_weight * q.question_share +
              options_.answer_weight * q.answer_share + options_.bm25_weight * q.bm25_share +
              options_.rank_weight / (1.0 + q.rank);
    quotes.push_back(std::move(q));
  }
  std::stable_sort(quotes.begin(), quotes.end(),
                   [](const Quote& a, const Quote& b) { return a.score > b.score; });
  quotes.resize(std::min(quotes.size(), count));
  return quotes;
}

bool QuoteFinder::supports(const Quote& quote, std::string_view answer) const {
  const Words said = words_of(answer);
  const Words there = words_of(quote.text);
  Words novel;
  for (const std::string& word : said) {
    if (!holds(question_, word)) {
      novel.push_back(word);
      if (is_number(word) && !holds(there, word)) {
        return false;
      }
    }
  }
  return !said.empty() && share(novel.empty() ? said : novel, there) >= 0.5;
}

Citation checked_citation(store::Corpus& corpus, const Quote& quote, int number) {
  OB_REQUIRE(corpus.documents().text(quote.document, quote.span) == quote.text, Corrupt,
             "{}: the text at {}–{} is not what was to be quoted; run `offbook check`", quote.path,
             quote.span.begin, quote.span.end);
  return {.number = number,
          .passage_id = quote.passage_id,
          .path = quote.path,
          .headings = quote.headings,
          .page = quote.page,
          .quote = quote.text,
          .span = quote.span};
}

}  // namespace offbook::answer
