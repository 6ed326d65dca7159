// Makers of RULER's families of tasks for a given number of units; ruler.cc picks that number.
#pragma once
#include "src/evaluate/generators/ruler.h"

namespace offbook::evaluate::ruler {

enum class Haystack : uint8_t { noise, essay, needles };
enum class Part : uint8_t { word, number, uuid };

struct NeedleTask {
  Haystack haystack = Haystack::noise;
  Part key = Part::word;
  Part value = Part::number;
  int keys = 1;
  int values = 1;   // of each key
  int queries = 1;  // keys asked for
};
NeedleTask needle_task(RulerTask task);

// `units`: lines of noise or needles, or words of the essay.
GeneratedCase make_niah(const NeedleTask& task, int64_t units, std::string_view essay,
                        Random random);
// Lines of noise.
GeneratedCase make_tracking(int64_t units, Random random);
// Different words; `is_short`: the published smaller frequencies below 4,096 tokens.
GeneratedCase make_common_words(int64_t units, bool is_short, Random random);
// Coded words, of a vocabulary of `vocabulary`.
GeneratedCase make_frequent_words(int64_t units, int64_t vocabulary, Random random);
// Documents.
GeneratedCase make_qa(int64_t units, const RulerSources& sources, int64_t index, Random random);

inline constexpr std::string_view kNoise =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

}  // namespace offbook::evaluate::ruler
