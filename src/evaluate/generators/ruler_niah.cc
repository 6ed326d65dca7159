#include <algorithm>
#include <cmath>

#include "src/base/error.h"
#include "src/evaluate/generators/ruler_parts.h"
#include "src/evaluate/generators/words.h"
#include "src/ingest/sentences.h"

namespace offbook::evaluate::ruler {
namespace {

std::string make_part(Part part, Random& random) {
  switch (part) {
    case Part::word:
      return random_key(random);
    case Part::number:
      return std::to_string(1000000 + random.below(9000000));
    case Part::uuid:
      return random_uuid(random);
  }
  OB_CHECK(false);
}

std::string_view plural(Part part) {
  return part == Part::uuid ? "uuids" : part == Part::number ? "numbers" : "words";
}

std::string needle(std::string_view kind, const std::string& key, const std::string& value) {
  return fmt::format("One of the special magic {} for {} is: {}.", kind, key, value);
}

struct Key {
  std::string name;
  std::vector<std::string> values;
};

std::vector<Key> make_keys(const NeedleTask& task, Random& random) {
  std::vector<Key> keys;
  while (static_cast<int>(keys.size()) < std::max(task.keys, task.queries)) {
    Key key{.name = make_part(task.key, random)};
    const bool is_known =
        std::any_of(keys.begin(), keys.end(), [&](const Key& k) { return k.name == key.name; });
    if (is_known) {
      continue;
    }
    for (int v = 0; v < task.values; ++v) {
      key.values.push_back(make_part(task.value, random));
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

// The first `words` words of an essay, read again when it is short, as sentences.
std::vector<std::string> essay_sentences(std::string_view essay, int64_t words) {
  std::string text;
  int64_t taken = 0;
  while (taken < words) {
    const int64_t before = taken;
    for (size_t at = essay.find_first_not_of(" \t\r\n");
         at != std::string_view::npos && taken < words; ++taken) {
      const size_t end = std::min(essay.find_first_of(" \t\r\n", at), essay.size());
      text += text.empty() ? "" : " ";
      text += essay.substr(at, end - at);
      at = essay.find_first_not_of(" \t\r\n", end);
    }
    OB_REQUIRE(taken > before, InvalidArgument,
               "this RULER task needs an essay to hide its needles in");
  }
  std::vector<std::string> out;
  for (const ByteSpan& span : ingest::split_sentences(text)) {
    out.push_back(text.substr(span.begin, span.end - span.begin));
  }
  return out;
}

struct Hidden {
  std::string text;
  double depth = 0;
};

// Needles before sentences at depths drawn from 40 even ones.
Hidden hide_in_essay(const std::vector<std::string>& sentences,
                     const std::vector<std::string>& needles, Random& random) {
  constexpr int64_t kDepths = 40;
  Hidden out;
  std::vector<size_t> places;
  for (const int64_t d : sample_sorted(random, kDepths, static_cast<int64_t>(needles.size()))) {
    const double depth = std::round(static_cast<double>(d) * 100 / (kDepths - 1)) / 100;
    places.push_back(static_cast<size_t>(static_cast<double>(sentences.size()) * depth));
  }
  out.depth = sentences.empty()
                  ? 0
                  : static_cast<double>(places.front()) / static_cast<double>(sentences.size());
  size_t next = 0;
  for (size_t i = 0; i <= sentences.size(); ++i) {
    for (; next < places.size() && places[next] == i; ++next) {
      out.text += (out.text.empty() ? "" : " ") + needles[next];
    }
    if (i < sentences.size()) {
      out.text += (out.text.empty() ? "" : " ") + sentences[i];
    }
  }
  return out;
}

Hidden hide_in_lines(std::vector<std::string> lines, const std::vector<std::string>& needles,
                     Random& random) {
  const auto n = static_cast<int64_t>(lines.size());
  const std::vector<int64_t> places =
      sample_sorted(random, n, static_cast<int64_t>(needles.size()));
  for (size_t i = needles.size(); i > 0; --i) {
    lines.insert(lines.begin() + places[i - 1], needles[i - 1]);
  }
  return {fmt::format("{}", fmt::join(lines, "\n")),
          static_cast<double>(places.front()) / static_cast<double>(n)};
}

}  // namespace

NeedleTask needle_task(RulerTask task) {
  switch (task) {
    case RulerTask::niah_single_1:
      return {};
    case RulerTask::niah_single_2:
      return {.haystack = Haystack::essay};
    case RulerTask::niah_single_3:
      return {.haystack = Haystack::essay, .value = Part::uuid};
    case RulerTask::niah_multikey_1:
      return {.haystack = Haystack::essay, .keys = 4};
    case RulerTask::niah_multikey_2:
      return {.haystack = Haystack::needles};
    case RulerTask::niah_multikey_3:
      return {.haystack = Haystack::needles, .key = Part::uuid, .value = Part::uuid};
    case RulerTask::niah_multivalue:
      return {.haystack = Haystack::essay, .values = 4};
    case RulerTask::niah_multiquery:
      return {.haystack = Haystack::essay, .queries = 4};
    default:
      OB_CHECK(false);
  }
}

GeneratedCase make_niah(const NeedleTask& task, int64_t units, std::string_view essay,
                        Random random) {
  const std::vector<Key> keys = make_keys(task, random);
  std::vector<std::string> needles;
  for (const Key& key : keys) {
    for (const std::string& value : key.values) {
      needles.push_back(needle(plural(task.value), key.name, value));
    }
  }
  shuffle(random, needles);
  Hidden hidden;
  if (task.haystack == Haystack::essay) {
    hidden = hide_in_essay(essay_sentences(essay, units), needles, random);
  } else {
    std::vector<std::string> lines;
    while (static_cast<int64_t>(lines.size()) < units) {
      const Key other{.name = make_part(task.key, random)};
      const bool is_noise = task.haystack == Haystack::noise;
      // Another needle with an asked key would be a second right answer.
      if (is_noise || other.name != keys.front().name) {
        lines.push_back(
            is_noise ? std::string(kNoise)
                     : needle(plural(task.value), other.name, make_part(task.value, random)));
      }
    }
    hidden = hide_in_lines(std::move(lines), needles, random);
  }
  std::vector<std::string> asked;
  GeneratedCase out{.wants_all = true, .depth = hidden.depth};
  std::vector<int64_t> order =
      sample_sorted(random, static_cast<int64_t>(keys.size()), task.queries);
  shuffle(random, order);
  for (const int64_t i : order) {
    const Key& key = keys[static_cast<size_t>(i)];
    asked.push_back(key.name);
    out.answers.insert(out.answers.end(), key.values.begin(), key.values.end());
  }
  std::string query = asked.front();
  if (asked.size() > 1) {
    query =
        fmt::format("{}, and {}", fmt::join(asked.begin(), asked.end() - 1, ", "), asked.back());
  }
  const bool is_one = out.answers.size() == 1;
  const std::string_view many = plural(task.value);
  const std::string_view kind = is_one ? many.substr(0, many.size() - 1) : many;
  out.context = fmt::format(
      "{} special magic {} {} hidden within the following text. Make sure to memorize it. I will "
      "quiz "
      "you about the {} afterwards.\n{}\n",
      is_one ? "A" : "Some", kind, is_one ? "is" : "are", kind, hidden.text);
  out.question = fmt::format("What {} the special magic {} for {} mentioned in the provided text?",
                             is_one ? "is" : "are all", kind, query);
  out.answer_stem = fmt::format("The special magic {} for {} mentioned in the provided text {}",
                                kind, query, is_one ? "is" : "are");
  out.label = out.answers;
  return out;
}

}  // namespace offbook::evaluate::ruler
