#include "src/metrics/rouge.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "src/base/error.h"
#include "src/metrics/lcs.h"
#include "src/metrics/porter_stemmer.h"
#include "src/metrics/python_text.h"

namespace offbook::metrics {
namespace {

using Ids = std::vector<uint32_t>;

// Gives equal tokens equal numbers.
class Numbers {
 public:
  explicit Numbers(Stemming stemming) : stemming_(stemming) {}

  Ids of(std::string_view text) {
    Ids out;
    for (std::string& token : rouge_tokens(text, stemming_)) {
      const auto next = static_cast<uint32_t>(numbers_.size());
      out.push_back(numbers_.emplace(std::move(token), next).first->second);
    }
    return out;
  }

  std::vector<Ids> of_lines(std::string_view text) {
    std::vector<Ids> out;
    for (size_t at = 0; at <= text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      if (end > at) {
        out.push_back(of(text.substr(at, end - at)));
      }
      at = end + 1;
    }
    return out;
  }

  size_t size() const { return numbers_.size(); }

 private:
  Stemming stemming_;
  std::unordered_map<std::string, uint32_t> numbers_;
};

PrecisionRecall score(size_t hits, size_t predicted, size_t wanted) {
  PrecisionRecall out;
  out.precision = static_cast<double>(hits) / static_cast<double>(std::max<size_t>(predicted, 1));
  out.recall = static_cast<double>(hits) / static_cast<double>(std::max<size_t>(wanted, 1));
  const double sum = out.precision + out.recall;
  out.f1 = sum > 0 ? 2 * out.precision * out.recall / sum : 0;
  return out;
}

PrecisionRecall score_ngrams(const Ids& prediction, const Ids& reference, size_t n) {
  const auto count = [n](const Ids& ids) { return ids.size() < n ? 0 : ids.size() - n + 1; };
  const auto key = [n](const Ids& ids, size_t i) {
    return n == 1 ? uint64_t{ids[i]} : uint64_t{ids[i]} << 32 | ids[i + 1];
  };
  std::unordered_map<uint64_t, int> counts;
  for (size_t i = 0; i < count(reference); ++i) {
    ++counts[key(reference, i)];
  }
  size_t hits = 0;
  for (size_t i = 0; i < count(prediction); ++i) {
    const auto found = counts.find(key(prediction, i));
    hits += found != counts.end() && found->second-- > 0;
  }
  return score(hits, count(prediction), count(reference));
}

size_t total(const std::vector<Ids>& sentences) {
  size_t out = 0;
  for (const Ids& sentence : sentences) {
    out += sentence.size();
  }
  return out;
}

std::vector<int> counts_of(const std::vector<Ids>& sentences, size_t vocabulary) {
  std::vector<int> out(vocabulary, 0);
  for (const Ids& sentence : sentences) {
    for (const uint32_t id : sentence) {
      ++out[id];
    }
  }
  return out;
}

// Union LCS of every reference sentence with all sentences of the prediction; a token counts at
// most as often as it stands on either side (ROUGE-1.5.5; the paper's formula counts it again).
PrecisionRecall score_summary(const std::vector<Ids>& prediction, const std::vector<Ids>& reference,
                              size_t vocabulary) {
  std::vector<int> left_predicted = counts_of(prediction, vocabulary);
  std::vector<int> left_wanted = counts_of(reference, vocabulary);
  size_t hits = 0;
  for (const Ids& sentence : reference) {
    std::vector<bool> is_common(sentence.size(), false);
    for (const Ids& other : prediction) {
      for (const uint32_t position : lcs_positions(sentence, other)) {
        is_common[position] = true;
      }
    }
    for (size_t i = 0; i < sentence.size(); ++i) {
      const uint32_t id = sentence[i];
      if (is_common[i] && left_predicted[id] > 0 && left_wanted[id] > 0) {
        ++hits;
        --left_predicted[id];
        --left_wanted[id];
      }
    }
  }
  return score(hits, total(prediction), total(reference));
}

}  // namespace

std::vector<std::string> rouge_tokens(std::string_view text, Stemming stemming) {
  const auto is_token = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const std::string lower = python_lower(text);
  std::vector<std::string> out;
  for (size_t at = 0; at < lower.size();) {
    size_t end = at;
    while (end < lower.size() && is_token(lower[end])) {
      ++end;
    }
    if (end > at) {
      std::string token = lower.substr(at, end - at);
      out.push_back(stemming == Stemming::porter && token.size() > 3 ? porter_stem(token) : token);
    }
    at = end + 1;
  }
  return out;
}

RougeScores rouge(std::string_view prediction, std::string_view reference, Stemming stemming) {
  Numbers numbers(stemming);
  const Ids predicted = numbers.of(prediction);
  const Ids wanted = numbers.of(reference);
  RougeScores out;
  out.rouge_1 = score_ngrams(predicted, wanted, 1);
  out.rouge_2 = score_ngrams(predicted, wanted, 2);
  out.rouge_l = score(lcs_length(wanted, predicted), predicted.size(), wanted.size());
  out.rouge_lsum =
      score_summary(numbers.of_lines(prediction), numbers.of_lines(reference), numbers.size());
  return out;
}

RougeScores rouge(std::string_view prediction, std::span<const std::string> references,
                  Stemming stemming) {
  OB_REQUIRE(!references.empty(), InvalidArgument,
             "ROUGE: at least one reference wanted, none came");
  RougeScores best = rouge(prediction, std::string_view(references[0]), stemming);
  for (const std::string& reference : references.subspan(1)) {
    const RougeScores other = rouge(prediction, std::string_view(reference), stemming);
    for (const auto kind : {&RougeScores::rouge_1, &RougeScores::rouge_2, &RougeScores::rouge_l,
                            &RougeScores::rouge_lsum}) {
      if ((other.*kind).f1 > (best.*kind).f1) {
        best.*kind = other.*kind;
      }
    }
  }
  return best;
}

double scrolls_geometric_mean(std::span<const RougeScores> scores) {
  OB_REQUIRE(!scores.empty(), InvalidArgument,
             "SCROLLS geometric mean: at least one question wanted, none came");
  double product = 1;
  for (const auto kind : {&RougeScores::rouge_1, &RougeScores::rouge_2, &RougeScores::rouge_l}) {
    double sum = 0;
    for (const RougeScores& score : scores) {
      sum += (score.*kind).f1;
    }
    product *= sum / static_cast<double>(scores.size());
  }
  return std::cbrt(product);
}

}  // namespace offbook::metrics
