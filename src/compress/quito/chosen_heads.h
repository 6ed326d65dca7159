// Heads whose attention finds answers best, for the table row `quito_heads`.
#pragma once
#include <string_view>
#include <vector>

#include "src/compress/quito/attention_row.h"

namespace offbook::compress {

// Of a family of models (Fingerprint::family); empty where none were chosen.
// bench/bars/quito_heads.cc chose them on tune parts, and says whether it would choose them again.
std::vector<HeadChoice> chosen_heads(std::string_view family);

}  // namespace offbook::compress
