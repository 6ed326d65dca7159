#include "src/answer/focus.h"

#include <algorithm>

namespace offbook::answer {
namespace {

bool are_neighbours(const FocusText& text, const retrieve::RankedPassage& ranked) {
  return text.document == store::document_of(ranked.passage.id) &&
         (text.passages.back().ordinal + 1 == ranked.passage.ordinal ||
          text.passages.front().ordinal - 1 == ranked.passage.ordinal);
}

FocusText make_text(const retrieve::RankedPassage& ranked, int rank) {
  const Passage& passage = ranked.passage;
  return {.document = store::document_of(passage.id),
          .path = ranked.path,
          .title = ranked.title,
          .headings = passage.headings,
          .page = passage.page,
          .span = passage.span,
          .text = passage.text,
          .passages = {passage},
          .rank = rank};
}

// Both in one, with the better rank; they are neighbours or overlap in ordinals.
void join(store::Corpus& corpus, FocusText& into, const FocusText& other) {
  into.passages.insert(into.passages.end(), other.passages.begin(), other.passages.end());
  std::sort(into.passages.begin(), into.passages.end(),
            [](const Passage& a, const Passage& b) { return a.ordinal < b.ordinal; });
  into.span = {into.passages.front().span.begin, into.passages.back().span.end};
  into.headings = into.passages.front().headings;
  into.page = into.passages.front().page;
  into.rank = std::min(into.rank, other.rank);
  into.text = corpus.documents().text(into.document, into.span);
}

int count(const text::Tokenizer& tokenizer, const std::string& text) {
  return static_cast<int>(tokenizer.encode(text, {.add_special = false}).ids.size());
}

int total(const std::vector<FocusText>& texts) {
  int sum = 0;
  for (const FocusText& t : texts) {
    sum += t.tokens;
  }
  return sum;
}

// The texts with one passage more.
std::vector<FocusText> with(store::Corpus& corpus, std::vector<FocusText> texts,
                            const retrieve::RankedPassage& ranked, int rank,
                            const text::Tokenizer& tokenizer) {
  FocusText made = make_text(ranked, rank);
  for (auto it = texts.begin(); it != texts.end();) {
    if (are_neighbours(*it, ranked)) {
      join(corpus, made, *it);
      it = texts.erase(it);
    } else {
      ++it;
    }
  }
  made.tokens = count(tokenizer, made.text);
  texts.push_back(std::move(made));
  return texts;
}

}  // namespace

std::vector<FocusText> focus(store::Corpus& corpus, std::span<const retrieve::RankedPassage> ranked,
                             const text::Tokenizer& tokenizer, const FocusOptions& options) {
  std::vector<FocusText> texts;
  int taken = 0;
  for (size_t i = 0; i < ranked.size() && taken < options.max_passages; ++i) {
    auto more = with(corpus, texts, ranked[i], static_cast<int>(i), tokenizer);
    if (total(more) <= options.budget_tokens) {
      texts = std::move(more);
      ++taken;
    }
  }
  std::sort(texts.begin(), texts.end(),
            [](const FocusText& a, const FocusText& b) { return a.rank < b.rank; });
  return texts;
}

}  // namespace offbook::answer
