#include <algorithm>
#include <cmath>
#include <set>

#include "src/base/error.h"
#include "src/evaluate/generators/ruler_parts.h"
#include "src/evaluate/generators/words.h"

namespace offbook::evaluate::ruler {
namespace {

constexpr int kHops = 4;

// A chain of kHops + 1 variables among lines of noise.
GeneratedCase chain(int64_t units, int letters, Random& random) {
  std::vector<std::string> names;
  std::set<std::string> known;
  while (names.size() <= kHops) {
    std::string name = random_letters(random, letters, 'A');
    if (known.insert(name).second) {
      names.push_back(std::move(name));
    }
  }
  const std::string value = std::to_string(10000 + random.below(90000));
  std::vector<std::string> lines(static_cast<size_t>(units), std::string(kNoise));
  const std::vector<int64_t> places = sample_sorted(random, units, kHops + 1);
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string line = i == 0 ? fmt::format("VAR {} = {}", names[0], value)
                                    : fmt::format("VAR {} = VAR {}", names[i], names[i - 1]);
    lines.insert(lines.begin() + places[i] + static_cast<std::ptrdiff_t>(i), line);
  }
  GeneratedCase out{
      .context = fmt::format("Memorize and track the chain(s) of variable assignment hidden in the "
                             "following text.\n\n{}\n",
                             fmt::join(lines, "\n")),
      .question = fmt::format(
          "Question: Find all variables that are assigned the value {} in the text above.", value),
      .answer_stem = fmt::format("Answer: According to the chain(s) of variable assignment in the "
                                 "text above, {} variables "
                                 "are assigned the value {}, they are:",
                                 names.size(), value),
      .answers = names,
      .wants_all = true,
      .label = names,
      .depth = static_cast<double>(places.front()) / static_cast<double>(units)};
  return out;
}

std::string worked(const GeneratedCase& c, const std::string& answer) {
  return fmt::format("{}{} {} {}\n\n", c.context, c.question, c.answer_stem, answer);
}

struct WordCounts {
  int64_t words;
  int64_t common;
  int64_t others;
};

constexpr int64_t kCommonWords = 10;

GeneratedCase word_list(const WordCounts& counts, Random& random) {
  const std::vector<std::string> words = different_words(random, counts.words);
  std::vector<std::string> list;
  for (int64_t i = 0; i < counts.words; ++i) {
    list.insert(list.end(), static_cast<size_t>(i < kCommonWords ? counts.common : counts.others),
                words[static_cast<size_t>(i)]);
  }
  shuffle(random, list);
  GeneratedCase out{
      .context =
          "Below is a numbered list of words. In these words, some appear more often than others. "
          "Memorize the ones "
          "that appear most often.\n",
      .question = "Question: What are the 10 most common words in the above list?",
      .answer_stem = "Answer: The top 10 words that appear most often in the list are:",
      .answers = {words.begin(), words.begin() + kCommonWords},
      .wants_all = true};
  for (size_t i = 0; i < list.size(); ++i) {
    out.context += fmt::format("{}{}. {}", i == 0 ? "" : " ", i + 1, list[i]);
  }
  out.context += "\n";
  out.label = out.answers;
  return out;
}

}  // namespace

GeneratedCase make_tracking(int64_t units, Random random) {
  const GeneratedCase example = chain(5, 3, random);
  GeneratedCase out = chain(units, 5, random);
  out.example = worked(example, fmt::format("{}", fmt::join(example.answers, " ")));
  return out;
}

GeneratedCase make_common_words(int64_t units, bool is_short, Random random) {
  const GeneratedCase example =
      word_list(is_short ? WordCounts{20, 3, 1} : WordCounts{40, 10, 3}, random);
  std::string answer;
  for (size_t i = 0; i < example.answers.size(); ++i) {
    answer += fmt::format("{}{}. {}", i == 0 ? "" : " ", i + 1, example.answers[i]);
  }
  GeneratedCase out =
      word_list(is_short ? WordCounts{units, 6, 1} : WordCounts{units, 30, 3}, random);
  out.example = worked(example, answer);
  return out;
}

GeneratedCase make_frequent_words(int64_t units, int64_t vocabulary, Random random) {
  constexpr double kAlpha = 2;
  constexpr double kZetaOfAlpha = 1.6449340668482264;  // π²/6
  std::vector<std::string> coded;
  std::set<std::string> known;
  while (static_cast<int64_t>(coded.size()) < vocabulary) {
    std::string word =
        coded.empty() ? "..." : random_letters(random, 6, 'a');  // the most frequent is noise
    if (known.insert(word).second) {
      coded.push_back(std::move(word));
    }
  }
  std::vector<std::string> text;
  for (size_t k = 0; k < coded.size(); ++k) {
    const double share = std::pow(static_cast<double>(k + 1), -kAlpha) / kZetaOfAlpha;
    text.insert(text.end(), static_cast<size_t>(static_cast<double>(units) * share), coded[k]);
  }
  shuffle(random, text);
  GeneratedCase out{.context = fmt::format("Read the following coded text and track the frequency "
                                           "of each coded word. Find the three most "
                                           "frequently appeared coded words. {}\n",
                                           fmt::join(text, " ")),
                    .question =
                        "Question: Do not provide any explanation. Please ignore the dots '....'. "
                        "What are the three most "
                        "frequently appeared words in the above coded text?",
                    .answer_stem =
                        "Answer: According to the coded text above, the three most frequently "
                        "appeared words are:",
                    .answers = {coded.begin() + 1, coded.begin() + 4},
                    .wants_all = true};
  out.label = out.answers;
  return out;
}

GeneratedCase make_qa(int64_t units, const RulerSources& sources, int64_t index, Random random) {
  const RulerQuestion& asked =
      sources.questions[static_cast<size_t>(index) % sources.questions.size()];
  std::vector<int32_t> chosen = asked.documents;
  std::set<int32_t> used(chosen.begin(), chosen.end());
  std::vector<int32_t> near;
  std::copy_if(asked.near_documents.begin(), asked.near_documents.end(), std::back_inserter(near),
               [&](int32_t d) { return used.insert(d).second; });
  std::vector<int32_t> far;
  for (int32_t d = 0; d < static_cast<int32_t>(sources.documents.size()); ++d) {
    if (used.count(d) == 0) {
      far.push_back(d);
    }
  }
  shuffle(random, near);
  shuffle(random, far);
  for (const auto* list : {&near, &far}) {
    for (size_t i = 0; i < list->size() && static_cast<int64_t>(chosen.size()) < units; ++i) {
      chosen.push_back((*list)[i]);
    }
  }
  shuffle(random, chosen);
  constexpr std::string_view kRule =
      "Answer the question based on the given documents. Only give me the answer and do not output "
      "any other words.";
  GeneratedCase out{.context = fmt::format("{}\n\nThe following are given documents.\n\n", kRule),
                    .question = fmt::format("{}\n\nQuestion: {}", kRule, asked.question),
                    .answer_stem = "Answer:",
                    .answers = asked.answers,
                    .label = asked.answers};
  for (size_t i = 0; i < chosen.size(); ++i) {
    OB_REQUIRE(chosen[i] >= 0 && static_cast<size_t>(chosen[i]) < sources.documents.size(),
               InvalidArgument, "a question names document {} of {}", chosen[i],
               sources.documents.size());
    if (out.depth < 0 &&
        std::count(asked.documents.begin(), asked.documents.end(), chosen[i]) > 0) {
      out.depth = static_cast<double>(i) / static_cast<double>(chosen.size());
    }
    out.context += fmt::format("Document {}:\n{}\n\n", i + 1,
                               sources.documents[static_cast<size_t>(chosen[i])]);
  }
  return out;
}

}  // namespace offbook::evaluate::ruler
