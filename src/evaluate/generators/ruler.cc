#include "src/evaluate/generators/ruler.h"

#include <algorithm>
#include <array>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/evaluate/generators/ruler_parts.h"

namespace offbook::evaluate {
namespace {

constexpr std::array<std::string_view, kRulerTasks> kNames = {"niah_single_1",
                                                              "niah_single_2",
                                                              "niah_single_3",
                                                              "niah_multikey_1",
                                                              "niah_multikey_2",
                                                              "niah_multikey_3",
                                                              "niah_multivalue",
                                                              "niah_multiquery",
                                                              "vt",
                                                              "cwe",
                                                              "fwe",
                                                              "qa_1",
                                                              "qa_2"};

bool is_qa(RulerTask task) {
  return task == RulerTask::qa_1 || task == RulerTask::qa_2;
}

struct Range {
  int64_t least;
  int64_t most;
};

// Of units a case of the task may have.
Range unit_range(const RulerSpec& spec, const RulerSources& sources) {
  const int64_t most = std::max<int64_t>(64, spec.tokens);
  switch (spec.task) {
    case RulerTask::vt:
      return {5, most};
    case RulerTask::cwe:
      return {11, most};
    case RulerTask::fwe:
      return {80, most * 4};  // the rarest of the three asked words twice at least
    case RulerTask::qa_1:
    case RulerTask::qa_2: {
      OB_REQUIRE(!sources.questions.empty() && !sources.documents.empty(), InvalidArgument,
                 "the RULER task {} needs questions and documents", to_string(spec.task));
      const auto& asked =
          sources.questions[static_cast<size_t>(spec.index) % sources.questions.size()];
      const auto least = static_cast<int64_t>(asked.documents.size());
      return {least, std::max(least, static_cast<int64_t>(sources.documents.size()))};
    }
    default:
      return {ruler::needle_task(spec.task).haystack == ruler::Haystack::essay ? 20 : 1, most};
  }
}

GeneratedCase make(const RulerSpec& spec, const RulerSources& sources, int64_t units) {
  const Random random = case_random(spec.seed, to_string(spec.task), spec.index);
  switch (spec.task) {
    case RulerTask::vt:
      return ruler::make_tracking(units, random);
    case RulerTask::cwe:
      return ruler::make_common_words(units, spec.tokens < 4096, random);
    case RulerTask::fwe:
      return ruler::make_frequent_words(units, std::max<int64_t>(8, spec.tokens / 50), random);
    case RulerTask::qa_1:
    case RulerTask::qa_2:
      return ruler::make_qa(units, sources, spec.index, random);
    default:
      return ruler::make_niah(ruler::needle_task(spec.task), units, sources.essay, random);
  }
}

}  // namespace

std::string_view to_string(RulerTask task) noexcept {
  return kNames[static_cast<size_t>(task)];
}

RulerTask ruler_task(std::string_view name) {
  const auto at = std::find(kNames.begin(), kNames.end(), name);
  OB_REQUIRE(at != kNames.end(), InvalidArgument, "no RULER task {}; there are {}", printable(name),
             fmt::join(kNames, ", "));
  return static_cast<RulerTask>(at - kNames.begin());
}

int64_t ruler_answer_tokens(RulerTask task) {
  switch (task) {
    case RulerTask::vt:
      return 30;
    case RulerTask::cwe:
      return 120;
    case RulerTask::fwe:
      return 50;
    default:
      return is_qa(task) ? 32 : 128;
  }
}

GeneratedCase make_ruler(const RulerSpec& spec, const RulerSources& sources,
                         const TokenCount& count) {
  OB_REQUIRE(spec.index >= 0, InvalidArgument, "case {}", spec.index);
  const Range range = unit_range(spec, sources);
  const int64_t room = spec.tokens - ruler_answer_tokens(spec.task);
  const auto measured = [&](int64_t units) {
    GeneratedCase c = make(spec, sources, units);
    measure(c, count);
    return c;
  };
  const int64_t units = largest_fitting(range.least, range.most, to_string(spec.task),
                                        [&](int64_t n) { return measured(n).length <= room; });
  GeneratedCase out = measured(units);
  out.task = to_string(spec.task);
  return out;
}

}  // namespace offbook::evaluate
