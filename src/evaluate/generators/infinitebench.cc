#include "src/evaluate/generators/infinitebench.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "src/base/error.h"

namespace offbook::evaluate {
namespace {

using metrics::InfiniteBenchTask;

constexpr std::string_view kNoise =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n";

int64_t between(Random& random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random.below(static_cast<uint64_t>(high - low + 1)));
}

// Noise with one line about a key at the case's place.
GeneratedCase hidden_line(const InfiniteBenchSpec& spec, std::string_view name,
                          const std::string& key) {
  const int64_t before = spec.count == 1 ? 0 : spec.index * spec.units / (spec.count - 1);
  GeneratedCase out{.question = fmt::format("What is the {}?", name),
                    .answer_stem = fmt::format("The {} is", name),
                    .answers = {key},
                    .label = key};
  for (int64_t i = 0; i <= spec.units; ++i) {
    if (i == before) {
      out.context += fmt::format("The {0} is {1}. Remember it. {1} is the {0}.\n", name, key);
    }
    if (i < spec.units) {
      out.context += kNoise;
    }
  }
  out.depth = spec.units == 0 ? 0 : static_cast<double>(before) / static_cast<double>(spec.units);
  return out;
}

GeneratedCase passkey(const InfiniteBenchSpec& spec, Random& random) {
  return hidden_line(spec, "pass key", random_digits(random, 5));
}

// Five digits, then five of them doubled in place: ten with neighbours that repeat.
GeneratedCase number_string(const InfiniteBenchSpec& spec, Random& random) {
  std::string key = random_digits(random, 5);
  for (int k = 0; k < 5; ++k) {
    const size_t at = random.below(key.size());
    key.insert(at, 1, key[at]);
  }
  return hidden_line(spec, "sequence of digits", key);
}

GeneratedCase kv_retrieval(const InfiniteBenchSpec& spec, Random& random) {
  OB_REQUIRE(spec.units >= 2, InvalidArgument, "kv_retrieval with {} pairs: at least 2",
             spec.units);
  const int64_t wanted = spec.index * spec.units / spec.count;
  GeneratedCase out{.context = "JSON data:\n{"};
  for (int64_t i = 0; i < spec.units; ++i) {
    const std::string key = random_uuid(random);
    const std::string value = random_uuid(random);
    out.context += fmt::format("{}\"{}\": \"{}\"", i == 0 ? "" : ", ", key, value);
    if (i == wanted) {
      out.question =
          fmt::format("Key: \"{}\"\nThe value associated with the specified key is:", key);
      out.answers = {value};
      out.label = value;
    }
  }
  out.context += "}\n";
  out.depth = static_cast<double>(wanted) / static_cast<double>(spec.units);
  return out;
}

struct FindKind {
  std::string_view name;
  int rank;  // from the top, or, negative, from the bottom; 0: median
};
constexpr std::array<FindKind, 7> kFindKinds = {{{"largest number", 1},
                                                 {"second largest number", 2},
                                                 {"third largest number", 3},
                                                 {"smallest number", -1},
                                                 {"second smallest number", -2},
                                                 {"third smallest number", -3},
                                                 {"median", 0}}};

nlohmann::json found(std::vector<int64_t> numbers, int rank) {
  std::sort(numbers.begin(), numbers.end());
  if (rank == 0) {
    const size_t half = numbers.size() / 2;
    if (numbers.size() % 2 == 0) {
      return static_cast<double>(numbers[half - 1] + numbers[half]) / 2;
    }
    return numbers[half];
  }
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return rank > 0 ? numbers[numbers.size() - static_cast<size_t>(rank)]
                  : numbers[static_cast<size_t>(-rank - 1)];
}

GeneratedCase math_find(const InfiniteBenchSpec& spec, Random& random) {
  OB_REQUIRE(spec.units >= 20, InvalidArgument, "math_find with {} numbers: at least 20",
             spec.units);
  const FindKind& kind = kFindKinds[static_cast<size_t>(spec.index) % kFindKinds.size()];
  int64_t low = 0;
  int64_t high = 99;
  const bool moves_top = kind.rank > 0 || (kind.rank == 0 && random.below(2) == 0);
  (moves_top ? high : low) = moves_top ? between(random, 79, 99) : between(random, 0, 19);
  std::vector<int64_t> numbers;
  do {  // three different numbers at least, which 20 draws of 80 nearly always have
    numbers.clear();
    for (int64_t i = 0; i < spec.units; ++i) {
      numbers.push_back(between(random, low, high));
    }
  } while (std::set<int64_t>(numbers.begin(), numbers.end()).size() < 3);
  GeneratedCase out{
      .context = fmt::format("[{}]\n", fmt::join(numbers, ", ")),
      .question = fmt::format(
          "What is the {} in the list above? You should answer with only one number, no "
          "other words.",
          kind.name),
      .answer_stem = fmt::format("The {} of the list is:", kind.name),
      .label = found(numbers, kind.rank)};
  out.answers = {out.label.dump()};
  return out;
}

GeneratedCase math_calc(const InfiniteBenchSpec& spec, Random& random) {
  OB_REQUIRE(spec.units >= 2, InvalidArgument, "math_calc with {} operands: at least 2",
             spec.units);
  int64_t value = between(random, 0, 99);
  GeneratedCase out{
      .context = std::to_string(value),
      .question =
          "Calculate the expression from left to right and give the intermediate value after each "
          "operator, separated by commas."};
  std::vector<int64_t> values;
  for (int64_t i = 1; i < spec.units; ++i) {
    int64_t operand = between(random, 0, 99);
    const bool adds = random.below(2) == 0;
    const int64_t room = adds ? 99 - value : value;
    if (operand > room) {
      operand = between(random, 0, room);
    }
    value += adds ? operand : -operand;
    out.context += fmt::format(" {} {}", adds ? '+' : '-', operand);
    values.push_back(value);
  }
  out.context += "\n";
  out.answers = {fmt::format("{}", fmt::join(values, ", "))};
  out.label = values;
  return out;
}

constexpr std::array<int64_t, 5> kCodeDepths = {2, 4, 6, 8, 10};

std::string plus(int64_t c) {
  return c == 0 ? "" : fmt::format(" {} {}", c > 0 ? '+' : '-', std::abs(c));
}

GeneratedCase code_run(const InfiniteBenchSpec& spec, Random& random) {
  OB_REQUIRE(spec.units >= 10, InvalidArgument, "code_run with {} functions: at least 10",
             spec.units);
  const int64_t depth = kCodeDepths[static_cast<size_t>(spec.index) % kCodeDepths.size()];
  const int64_t width = spec.units / depth;
  std::vector<int64_t> names = sample_sorted(random, 2 * spec.units, width * depth);
  shuffle(random, names);
  const auto name = [&](int64_t layer, int64_t i) {
    return names[static_cast<size_t>(layer * width + i)] + 1;
  };
  std::map<int64_t, std::string> functions;
  for (int64_t layer = 0; layer < depth; ++layer) {
    for (int64_t i = 0; i < width; ++i) {
      const int64_t c = between(random, -12, 17);
      const std::string inner =
          layer + 1 == depth
              ? "x"
              : fmt::format("func_{}(x)", name(layer + 1, between(random, 0, width - 1)));
      functions[name(layer, i)] =
          fmt::format("def func_{}(x):\n    return {}{}\n", name(layer, i), inner, plus(c));
    }
  }
  GeneratedCase out;
  for (const auto& [id, text] : functions) {
    out.context += text + "\n";
  }
  const int64_t asked = name(0, between(random, 0, width - 1));
  const int64_t x = between(random, -10, 10);
  const int64_t value = run_functions(out.context, asked, x);
  out.question = fmt::format(
      "What is the exact value of func_{}({})? End your answer with the value.", asked, x);
  out.answer_stem = fmt::format("The value of func_{}({}) is", asked, x);
  out.answers = {std::to_string(value)};
  out.label = value;
  return out;
}

GeneratedCase make_case(const InfiniteBenchSpec& spec, Random& random) {
  switch (spec.task) {
    case InfiniteBenchTask::passkey:
      return passkey(spec, random);
    case InfiniteBenchTask::number_string:
      return number_string(spec, random);
    case InfiniteBenchTask::kv_retrieval:
      return kv_retrieval(spec, random);
    case InfiniteBenchTask::math_find:
      return math_find(spec, random);
    case InfiniteBenchTask::math_calc:
      return math_calc(spec, random);
    case InfiniteBenchTask::code_run:
      return code_run(spec, random);
    default:
      OB_THROW(InvalidArgument, "{} is read from files, it cannot be generated",
               to_string(spec.task));
  }
}

int64_t least_units(InfiniteBenchTask task) {
  switch (task) {
    case InfiniteBenchTask::code_run:
      return 10;
    case InfiniteBenchTask::math_find:
      return 20;
    case InfiniteBenchTask::passkey:
    case InfiniteBenchTask::number_string:
      return 1;
    default:
      return 2;
  }
}

}  // namespace

bool is_generated(InfiniteBenchTask task) {
  return task == InfiniteBenchTask::passkey || task == InfiniteBenchTask::number_string ||
         task == InfiniteBenchTask::kv_retrieval || task == InfiniteBenchTask::math_find ||
         task == InfiniteBenchTask::math_calc || task == InfiniteBenchTask::code_run;
}

int64_t official_units(InfiniteBenchTask task) {
  switch (task) {
    case InfiniteBenchTask::passkey:
    case InfiniteBenchTask::number_string:
      return 5220;
    case InfiniteBenchTask::kv_retrieval:
      return 2500;
    case InfiniteBenchTask::code_run:
      return 4400;
    case InfiniteBenchTask::math_calc:
      return 15000;
    case InfiniteBenchTask::math_find:
      return 60000;
    default:
      OB_THROW(InvalidArgument, "{} is read from files, it cannot be generated", to_string(task));
  }
}

int64_t fitting_units(InfiniteBenchTask task, int64_t tokens, const TokenCount& count) {
  OB_REQUIRE(is_generated(task), InvalidArgument, "{} is read from files, it cannot be generated",
             to_string(task));
  const bool varies =
      task != InfiniteBenchTask::passkey && task != InfiniteBenchTask::number_string;
  // Digits of the keys may read as a few tokens more in another case.
  const int64_t room = varies ? tokens - tokens / 50 : tokens - 12;
  return largest_fitting(least_units(task), std::max<int64_t>(least_units(task), tokens),
                         to_string(task), [&](int64_t n) {
                           return make_infinitebench(
                                      {.task = task, .units = n, .index = 30, .count = 60}, count)
                                      .length <= room;
                         });
}

GeneratedCase make_infinitebench(const InfiniteBenchSpec& spec, const TokenCount& count) {
  OB_REQUIRE(spec.index >= 0 && spec.index < spec.count && spec.units >= 0, InvalidArgument,
             "case {} of {} with {} units", spec.index, spec.count, spec.units);
  Random random = case_random(spec.seed, to_string(spec.task), spec.index);
  GeneratedCase out = make_case(spec, random);
  out.task = to_string(spec.task);
  measure(out, count);
  return out;
}

}  // namespace offbook::evaluate
