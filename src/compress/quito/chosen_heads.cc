#include "src/compress/quito/chosen_heads.h"

namespace offbook::compress {
namespace {

struct OfFamily {
  std::string_view family;
  ChosenAttention attention;
};

}  // namespace

ChosenAttention chosen_attention(std::string_view family) {
  const OfFamily known[] = {
      // SmolLM2-135M-Instruct
      {"58cccf5eb8922671930dbd8ecce10ba6",
       {.heads = {{18, 7}, {17, 3}, {7, 7}, {18, 8}},
        .asking = Asking::question,
        .has_equal_heads = true,
        .sigma = 8,
        .filter = QuitoFilter::dynamic_sentence}},
  };
  for (const OfFamily& of : known) {
    if (of.family == family) {
      return of.attention;
    }
  }
  return {};
}

}  // namespace offbook::compress
