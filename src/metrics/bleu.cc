#include "src/metrics/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "src/base/error.h"
#include "src/metrics/python_text.h"

namespace offbook::metrics {
namespace {

constexpr size_t kOrders = 4;
using Ngram = std::array<uint32_t, kOrders>;  // word numbers from 1, padded with 0
using NgramCounts = std::map<Ngram, int64_t>;
using Numbers = std::map<std::string, uint32_t, std::less<>>;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_no_digit(char c) {
  return !is_digit(c);
}
bool is_stop(char c) {
  return c == '.' || c == ',';
}
bool is_dash(char c) {
  return c == '-';
}
// Symbols that always stand alone.
bool is_symbol(char c) {
  return is_ascii_punctuation(c) && c != '\'' && c != ',' && c != '-' && c != '.';
}

struct PairRule {
  bool (*first)(char);
  bool (*second)(char);
  std::string_view before, between, after;  // what is put around the two characters
};

// One left-to-right pass over pairs that do not overlap, as re.sub does. Bytes will do: every
// character the rules name is ASCII, and a longer character is never split between its bytes.
std::string space_pairs(const PairRule& rule, std::string_view text) {
  std::string out;
  out.reserve(text.size() * 2);
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && rule.first(text[i]) && rule.second(text[i + 1])) {
      out.append(rule.before).append(1, text[i]).append(rule.between).append(1, text[i + 1]);
      out.append(rule.after);
      ++i;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::vector<uint32_t> numbered(std::string_view text, Numbers& numbers) {
  const std::string tokens = tokenize_13a(text);
  std::vector<uint32_t> out;
  for (const std::string_view token : python_split(tokens)) {
    const auto next = static_cast<uint32_t>(numbers.size() + 1);
    out.push_back(numbers.try_emplace(std::string(token), next).first->second);
  }
  return out;
}

NgramCounts ngrams(const std::vector<uint32_t>& tokens) {
  NgramCounts out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    Ngram ngram{};
    for (size_t n = 0; n < kOrders && i + n < tokens.size(); ++n) {
      ngram[n] = tokens[i + n];
      ++out[ngram];
    }
  }
  return out;
}

size_t order_of(const Ngram& ngram) {
  return kOrders - 1 - static_cast<size_t>(std::count(ngram.begin(), ngram.end(), 0u));
}

}  // namespace

BleuCounts& BleuCounts::operator+=(const BleuCounts& other) {
  for (size_t n = 0; n < kOrders; ++n) {
    correct[n] += other.correct[n];
    total[n] += other.total[n];
  }
  prediction_tokens += other.prediction_tokens;
  reference_tokens += other.reference_tokens;
  return *this;
}

std::string tokenize_13a(std::string_view text) {
  constexpr PairRule kPairs[] = {{is_no_digit, is_stop, "", " ", " "},
                                 {is_stop, is_no_digit, " ", " ", ""},
                                 {is_digit, is_dash, "", " ", " "}};
  std::string line = to_utf8(code_points(python_rstrip(text)));
  replace_all(line, "<skipped>", "");
  replace_all(line, "-\n", "");
  replace_all(line, "\n", " ");
  replace_all(line, "&quot;", "\"");
  replace_all(line, "&amp;", "&");
  replace_all(line, "&lt;", "<");
  replace_all(line, "&gt;", ">");
  std::string spaced = " ";
  for (const char c : line + " ") {
    spaced.append(is_symbol(c) ? std::string{' ', c, ' '} : std::string{c});
  }
  for (const PairRule& rule : kPairs) {
    spaced = space_pairs(rule, spaced);
  }
  std::string out;
  for (const std::string_view token : python_split(spaced)) {
    out.append(out.empty() ? 0 : 1, ' ').append(token);
  }
  return out;
}

BleuCounts bleu_counts(std::string_view prediction, std::span<const std::string> references) {
  OB_REQUIRE(!references.empty(), InvalidArgument,
             "BLEU: at least one reference wanted, none came");
  Numbers numbers;
  const auto predicted = numbered(prediction, numbers);
  BleuCounts out;
  out.prediction_tokens = static_cast<int64_t>(predicted.size());
  NgramCounts allowed;
  int64_t closest = -1;
  for (const std::string& reference : references) {
    const auto tokens = numbered(reference, numbers);
    const auto length = static_cast<int64_t>(tokens.size());
    const int64_t distance = std::abs(out.prediction_tokens - length);
    if (closest < 0 || distance < closest ||
        (distance == closest && length < out.reference_tokens)) {
      closest = distance;
      out.reference_tokens = length;
    }
    for (const auto& [ngram, count] : ngrams(tokens)) {
      int64_t& most = allowed[ngram];
      most = std::max(most, count);
    }
  }
  for (const auto& [ngram, count] : ngrams(predicted)) {
    const auto found = allowed.find(ngram);
    out.total[order_of(ngram)] += count;
    out.correct[order_of(ngram)] += found == allowed.end() ? 0 : std::min(count, found->second);
  }
  return out;
}

double bleu(const BleuCounts& counts, BleuOrder order) {
  if (std::all_of(counts.correct.begin(), counts.correct.end(), [](int64_t c) { return c == 0; })) {
    return 0;
  }
  double log_sum = 0;
  double smoothing = 1;
  size_t used = 0;
  for (; used < kOrders && counts.total[used] > 0; ++used) {
    // Orders without a match get 1/2, 1/4, … of one match ("exp" smoothing).
    smoothing *= counts.correct[used] == 0 ? 2 : 1;
    const double matches =
        counts.correct[used] == 0 ? 1 / smoothing : static_cast<double>(counts.correct[used]);
    log_sum += std::log(100 * matches / static_cast<double>(counts.total[used]));
  }
  if (order == BleuOrder::full && used < kOrders) {
    return 0;  // an order without a single n-gram has precision 0
  }
  const auto predicted = static_cast<double>(counts.prediction_tokens);
  const auto wanted = static_cast<double>(counts.reference_tokens);
  const double brevity = predicted < wanted ? std::exp(1 - wanted / predicted) : 1;
  return brevity * std::exp(log_sum / static_cast<double>(used));
}

double sentence_bleu(std::string_view prediction, std::span<const std::string> references) {
  return bleu(bleu_counts(prediction, references), BleuOrder::effective);
}

}  // namespace offbook::metrics
