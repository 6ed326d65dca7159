#include "src/metrics/text_scores.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "src/base/error.h"
#include "src/metrics/lcs.h"
#include "src/metrics/python_text.h"

namespace offbook::metrics {
namespace {

bool is_article(std::u32string_view word) {
  return word == U"a" || word == U"an" || word == U"the";
}

// re.sub(r"\b(a|an|the)\b", " ", text): whole runs of word characters only.
std::u32string without_articles(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && is_python_word(text[end])) {
      ++end;
    }
    const std::u32string_view word = text.substr(at, end - at);
    if (is_article(word)) {
      out.push_back(U' ');
    } else {
      out.append(word);
    }
    if (end < text.size()) {
      out.push_back(text[end++]);
    }
    at = end;
  }
  return out;
}

template <typename Score>
double best(std::span<const std::string> references, const char* name, Score score) {
  OB_REQUIRE(!references.empty(), InvalidArgument, "{}: at least one reference wanted, none came",
             name);
  double out = 0;
  for (const std::string& reference : references) {
    out = std::max(out, score(reference));
  }
  return out;
}

double bag_f1(const std::vector<std::string>& prediction,
              const std::vector<std::string>& reference) {
  std::map<std::string_view, int> counts;
  for (const std::string& token : reference) {
    ++counts[token];
  }
  double common = 0;
  for (const std::string& token : prediction) {
    const auto found = counts.find(token);
    if (found != counts.end() && found->second-- > 0) {
      ++common;
    }
  }
  if (common == 0) {
    return 0;
  }
  const double precision = common / static_cast<double>(prediction.size());
  const double recall = common / static_cast<double>(reference.size());
  return 2 * precision * recall / (precision + recall);
}

std::string between_spaces(std::string_view text) {
  std::string out(1, ' ');
  out.append(text).push_back(' ');
  return out;
}

std::string quito_text(std::string_view text) {
  std::string out;
  for (const char32_t code : code_points(text)) {
    out.push_back(code > 0x7F ? '?' : static_cast<char>(code));
  }
  return python_lower(out);
}

std::vector<uint32_t> characters(std::string_view text) {
  const std::u32string codes = code_points(text);
  return {codes.begin(), codes.end()};
}

}  // namespace

std::string normalize_answer(std::string_view text) {
  std::string lower = python_lower(text);
  std::erase_if(lower, is_ascii_punctuation);
  const std::string plain = to_utf8(without_articles(code_points(lower)));
  std::string out;
  for (const std::string_view word : python_split(plain)) {
    out.append(out.empty() ? 0 : 1, ' ').append(word);
  }
  return out;
}

std::vector<std::string> answer_tokens(std::string_view text) {
  const std::string normalized = normalize_answer(text);
  std::vector<std::string> out;
  for (const std::string_view word : python_split(normalized)) {
    out.emplace_back(word);
  }
  return out;
}

double token_f1(std::string_view prediction, std::string_view reference, EmptyRule rule) {
  const auto predicted = answer_tokens(prediction);
  const auto wanted = answer_tokens(reference);
  if (rule == EmptyRule::no_answer && (predicted.empty() || wanted.empty())) {
    return predicted.empty() && wanted.empty() ? 1.0 : 0.0;
  }
  return bag_f1(predicted, wanted);
}

double token_f1(std::string_view prediction, std::span<const std::string> references) {
  const auto predicted = answer_tokens(prediction);
  return best(references, "token F1", [&](const std::string& reference) {
    return bag_f1(predicted, answer_tokens(reference));
  });
}

double exact_match(std::string_view prediction, std::string_view reference) {
  return normalize_answer(prediction) == normalize_answer(reference) ? 1.0 : 0.0;
}

double exact_match(std::string_view prediction, std::span<const std::string> references) {
  return best(references, "exact match", [&](const std::string& reference) {
    return exact_match(prediction, std::string_view(reference));
  });
}

SquadScore squad2_score(std::string_view prediction, std::span<const std::string> references) {
  SquadScore score;
  bool is_answerable = false;
  const auto take = [&](std::string_view reference) {
    score.exact = std::max(score.exact, exact_match(prediction, reference));
    score.f1 = std::max(score.f1, token_f1(prediction, reference, EmptyRule::no_answer));
  };
  for (const std::string& reference : references) {
    if (!normalize_answer(reference).empty()) {
      is_answerable = true;
      take(reference);
    }
  }
  if (!is_answerable) {
    take("");
  }
  return score;
}

std::string_view before_full_stop(std::string_view prediction) {
  return prediction.substr(0, prediction.find('.'));
}

double contains_exactly(std::string_view prediction, std::span<const std::string> references) {
  return best(references, "containment", [&](const std::string& reference) {
    return prediction.find(reference) != std::string_view::npos ? 1.0 : 0.0;
  });
}

double contains_normalized(std::string_view prediction, std::span<const std::string> references) {
  const std::string text = between_spaces(normalize_answer(prediction));
  return best(references, "containment", [&](const std::string& reference) {
    const std::string wanted = normalize_answer(reference);
    return !wanted.empty() && text.find(between_spaces(wanted)) != std::string::npos ? 1.0 : 0.0;
  });
}

double contains_quito(std::string_view prediction, std::span<const std::string> references) {
  const std::string text = quito_text(prediction);
  return best(references, "QUITO accuracy", [&](const std::string& reference) {
    return text.find(quito_text(reference)) != std::string::npos ? 1.0 : 0.0;
  });
}

double asqa_em_recall(std::string_view prediction,
                      std::span<const std::vector<std::string>> answer_sets) {
  OB_REQUIRE(!answer_sets.empty(), InvalidArgument,
             "ASQA EM recall: at least one answer set wanted, none came");
  const std::string text = python_lower(prediction);
  double found = 0;
  for (const auto& aliases : answer_sets) {
    found += std::any_of(aliases.begin(), aliases.end(), [&](const std::string& alias) {
      return text.find(python_lower(alias)) != std::string::npos;
    });
  }
  return found / static_cast<double>(answer_sets.size());
}

double edit_similarity(std::string_view a, std::string_view b) {
  const auto left = characters(a);
  const auto right = characters(b);
  const size_t total = left.size() + right.size();
  const size_t distance = total - 2 * lcs_length(left, right);
  // In this form, as rapidfuzz has it: 2·LCS / total rounds to another percent on some halves.
  return total == 0 ? 1 : 1 - static_cast<double>(distance) / static_cast<double>(total);
}

double longbench_code_similarity(std::string_view prediction, std::string_view reference) {
  prediction.remove_prefix(std::min(prediction.find_first_not_of('\n'), prediction.size()));
  std::string_view chosen;
  for (size_t at = 0; at <= prediction.size();) {
    const size_t end = std::min(prediction.find('\n', at), prediction.size());
    const std::string_view line = prediction.substr(at, end - at);
    if (line.find_first_of("`#") == std::string_view::npos &&
        line.find("//") == std::string_view::npos) {
      chosen = line;
      break;
    }
    at = end + 1;
  }
  // Python rounds halves to even, as nearbyint does in the default mode.
  return std::nearbyint(100 * edit_similarity(chosen, reference)) / 100;
}

}  // namespace offbook::metrics
