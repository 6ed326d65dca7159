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
      {"58cccf5eb8922671930dbd8ecce10ba6", {}},  // SmolLM2-135M-Instruct
  };
  for (const FamilyHeads& of : known) {
    if (of.family == family) {
      return of.heads;
    }
  }
  return {};
}

}  // namespace offbook::compress
