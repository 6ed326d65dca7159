#include "src/compress/quito/chosen_heads.h"

namespace offbook::compress {
namespace {

struct FamilyHeads {
  std::string_view family;
  std::vector<HeadChoice> heads;
};

}  // namespace

std::vector<HeadChoice> chosen_heads(std::string_view family) {
  const FamilyHeads known[] = {
      // SmolLM2-135M-Instruct
      {"58cccf5eb8922671930dbd8ecce10ba6", {{23, 4}, {23, 5}, {24, 2}, {24, 7}}},
  };
  for (const FamilyHeads& of : known) {
    if (of.family == family) {
      return of.heads;
    }
  }
  return {};
}

}  // namespace offbook::compress
