#include "src/evaluate/generators/needle.h"

#include <algorithm>
#include <cmath>

#include "src/base/error.h"
#include "src/evaluate/generators/words.h"

namespace offbook::evaluate {
namespace {

// The first `bytes` of the text, repeated as often as needed, without a part of a character.
std::string stretch(std::string_view text, size_t bytes) {
  std::string out;
  out.reserve(bytes + text.size());
  while (out.size() < bytes) {
    out += text;
    out += '\n';
  }
  while (bytes > 0 && (static_cast<unsigned char>(out[bytes]) & 0xc0) == 0x80) {
    --bytes;
  }
  out.resize(bytes);
  return out;
}

struct Needle {
  std::string sentence;
  std::string question;
  std::string stem;
  std::string answer;
};

Needle needle_of(const NeedleSpec& spec, Random& random) {
  if (spec.kind == NeedleKind::fixed) {
    return {"The designer that Mary Coleman likes best is Alva Lindqvist.",
            "Which designer does Mary Coleman like best?",
            "The designer that Mary Coleman likes best is", "Alva Lindqvist"};
  }
  const std::string city(pick(random, spec.for_training ? training_cities() : evaluation_cities()));
  return {fmt::format("The magic city is {}.", city), "What is the magic city?",
          "The magic city is", city};
}

}  // namespace

GeneratedCase make_needle(const NeedleSpec& spec, std::string_view haystack,
                          const TokenCount& count) {
  OB_REQUIRE(!haystack.empty() && spec.depth >= 0 && spec.depth <= 1, InvalidArgument,
             "a needle at depth {} of a text of {} bytes: a depth in [0, 1] and some text",
             spec.depth, haystack.size());
  Random random = case_random(spec.seed, "needle", spec.index);
  const Needle needle = needle_of(spec, random);
  const std::string line = needle.sentence + "\n";
  const int64_t room = spec.tokens - spec.reserved - count(line) - count(needle.question);
  // No tokeniser here has tokens of more than 64 bytes on average.
  const int64_t most = std::max<int64_t>(1, room) * 64;
  const auto bytes = static_cast<size_t>(largest_fitting(1, most, "needle", [&](int64_t n) {
    return count(stretch(haystack, static_cast<size_t>(n))) <= room;
  }));
  std::string text = stretch(haystack, bytes);
  const auto before =
      static_cast<int64_t>(std::llround(spec.depth * static_cast<double>(count(text))));
  const auto fits = [&](int64_t n) {
    return n == 0 || count(stretch(text, static_cast<size_t>(n))) <= before;
  };
  size_t at =
      static_cast<size_t>(largest_fitting(0, static_cast<int64_t>(text.size()), "needle", fits));
  const size_t line_end = at == 0 ? std::string::npos : text.rfind('\n', at - 1);
  at = line_end == std::string::npos ? 0 : line_end + 1;
  const double depth = static_cast<double>(at) / static_cast<double>(text.size());
  text.insert(at, line);
  GeneratedCase out{.task = spec.kind == NeedleKind::fixed ? "needle_fixed" : "needle_random",
                    .context = std::move(text),
                    .question = needle.question,
                    .answer_stem = needle.stem,
                    .answers = {needle.answer},
                    .label = needle.answer,
                    .depth = depth};
  measure(out, count);
  return out;
}

std::vector<double> even_grid(double first, double last, int n) {
  OB_REQUIRE(n >= 1, InvalidArgument, "a grid of {} values", n);
  std::vector<double> out;
  for (int i = 0; i < n; ++i) {
    out.push_back(n == 1 ? first : first + (last - first) * i / (n - 1));
  }
  return out;
}

}  // namespace offbook::evaluate
