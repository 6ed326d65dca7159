// Which attention finds answers best, for the table row `quito_heads`.
#pragma once
#include <string_view>
#include <vector>

#include "src/compress/quito/quito.h"

namespace offbook::compress {

// What the row differs in from `quito`; `heads` empty: nothing was chosen.
struct ChosenAttention {
  std::vector<HeadChoice> heads;
  Asking asking = Asking::last_token;
  bool has_equal_heads = false;
  double sigma = 1;  // of the smoothing over words
  QuitoFilter filter = QuitoFilter::phrase;
  bool operator==(const ChosenAttention&) const = default;
};

// Of a family of models (Fingerprint::family). bench/bars/quito_heads.cc chose it on tune parts,
// and says whether it would choose it again.
ChosenAttention chosen_attention(std::string_view family);

}  // namespace offbook::compress
