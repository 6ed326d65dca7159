#include <algorithm>
#include <numeric>

#include "src/base/error.h"
#include "src/compress/quito/words.h"

namespace offbook::compress {
namespace {

using Indices = std::vector<int32_t>;

// Highest score first, ties in order.
Indices by_score(std::span<const double> scores) {
  Indices order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return order;
}

// What the filters share: smoothed scores, what each word costs, how much may be spent.
struct Problem {
  std::vector<double> scores;
  Indices costs;
  double budget = 0;
  QuitoRules rules = QuitoRules::exact;
};

Problem make_problem(std::span<const Word> words, const QuitoFilterOptions& options) {
  OB_REQUIRE(options.ratio >= 0 && options.ratio <= 1, InvalidArgument,
             "a share to keep lies in [0, 1], not {}", options.ratio);
  OB_REQUIRE(!options.token_budget || options.rules == QuitoRules::exact, InvalidArgument,
             "a budget of tokens needs the exact rules");
  Problem out{.rules = options.rules};
  double total = 0;
  const auto cost_of = [&](const Word& word) {
    if (options.rules == QuitoRules::exact) {
      return word.tokens;
    }
    const bool counts = options.rules == QuitoRules::head && options.filter == QuitoFilter::phrase;
    return counts ? word.published_tokens : 1;
  };
  for (const Word& word : words) {
    out.scores.push_back(word.score);
    out.costs.push_back(cost_of(word));
    total += out.costs.back();
  }
  const bool smooths = options.rules != QuitoRules::paper || options.filter == QuitoFilter::phrase;
  out.scores = gaussian_smooth(out.scores, smooths ? options.sigma : 0);
  out.budget =
      options.token_budget ? static_cast<double>(*options.token_budget) : total * options.ratio;
  return out;
}

// August 2024: the words above a rank.
Indices keep_by_rank(const Problem& p, double ratio) {
  const auto n = static_cast<int32_t>(p.scores.size());
  Indices order(p.scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return p.scores[static_cast<size_t>(a)] < p.scores[static_cast<size_t>(b)];
  });
  Indices kept;
  for (int32_t rank = 0; rank < n; ++rank) {
    if (rank > n * (1 - ratio)) {
      kept.push_back(order[static_cast<size_t>(rank)]);
    }
  }
  return kept;
}

Indices keep_phrases(const Problem& p) {
  Indices kept;
  double spent = 0;
  for (const int32_t i : by_score(p.scores)) {
    spent += p.costs[static_cast<size_t>(i)];
    // The published comparison is strict, so that a budget is never quite filled.
    if (p.rules == QuitoRules::head ? spent >= p.budget : spent > p.budget) {
      break;
    }
    kept.push_back(i);
  }
  return kept;
}

struct Range {
  int32_t begin;
  int32_t end;
};

int32_t best_of(const Problem& p, const Range& range) {
  const auto at = std::max_element(p.scores.begin() + range.begin, p.scores.begin() + range.end);
  return static_cast<int32_t>(at - p.scores.begin());
}

// Grows from the best word, left and right in turn. The published program takes the best word
// whatever is left, then a word on each side at a time until enough is taken: it may go beyond the
// budget.
Range fragment(const Problem& p, const Range& sentence, double left_over) {
  const int32_t best = best_of(p, sentence);
  Range out{best, best + 1};
  double spent = p.costs[static_cast<size_t>(best)];
  const auto can_take = [&](int32_t i) {
    return p.rules != QuitoRules::exact || spent + p.costs[static_cast<size_t>(i)] <= left_over;
  };
  if (p.rules == QuitoRules::exact && spent > left_over) {
    return {best, best};
  }
  bool grows = true;
  while (grows && spent < left_over) {
    grows = false;
    if (out.begin > sentence.begin && can_take(out.begin - 1)) {
      spent += p.costs[static_cast<size_t>(--out.begin)];
      grows = true;
    }
    if (out.end < sentence.end && can_take(out.end)) {
      spent += p.costs[static_cast<size_t>(out.end++)];
      grows = true;
    }
  }
  return out;
}

void append(const Range& range, Indices& out) {
  for (int32_t i = range.begin; i < range.end; ++i) {
    out.push_back(i);
  }
}

Indices keep_sentences(const Problem& p, std::span<const int32_t> ends, bool is_dynamic) {
  std::vector<Range> sentences;
  std::vector<double> scores;
  for (size_t s = 0; s < ends.size(); ++s) {
    const Range range{s == 0 ? 0 : ends[s - 1], ends[s]};
    sentences.push_back(range);
    scores.push_back(p.scores[static_cast<size_t>(best_of(p, range))]);
  }
  Indices kept;
  Indices cut;
  double spent = 0;
  for (const int32_t s : by_score(scores)) {
    const Range& range = sentences[static_cast<size_t>(s)];
    const double cost =
        std::accumulate(p.costs.begin() + range.begin, p.costs.begin() + range.end, 0.0);
    if (spent + cost > p.budget) {
      if (is_dynamic) {
        append(fragment(p, range, p.budget - spent), cut);
      }
      break;
    }
    append(range, kept);
    spent += cost;
  }
  std::sort(kept.begin(), kept.end());
  kept.insert(kept.end(), cut.begin(), cut.end());
  return kept;
}

void check_ends(std::span<const int32_t> ends, size_t words) {
  int32_t before = 0;
  for (const int32_t end : ends) {
    OB_REQUIRE(end > before, InvalidArgument,
               "a sentence ends at word {} after one that ends at {}", end, before);
    before = end;
  }
  OB_REQUIRE(static_cast<size_t>(before) == words, InvalidArgument,
             "sentences end at word {} of {}", before, words);
}

}  // namespace

std::vector<int32_t> keep_words(std::span<const Word> words, std::span<const int32_t> ends,
                                const QuitoFilterOptions& options) {
  const Problem p = make_problem(words, options);
  if (words.empty()) {
    return {};
  }
  Indices kept;
  if (options.filter == QuitoFilter::phrase) {
    kept = options.rules == QuitoRules::paper ? keep_by_rank(p, options.ratio) : keep_phrases(p);
  } else {
    check_ends(ends, words.size());
    kept = keep_sentences(p, ends, options.filter == QuitoFilter::dynamic_sentence);
  }
  if (options.filter == QuitoFilter::phrase || options.rules == QuitoRules::exact) {
    std::sort(kept.begin(), kept.end());
  }
  return kept;
}

}  // namespace offbook::compress
