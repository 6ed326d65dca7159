// The words of a text that say what it is about.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "src/store/fts5_tokenizer.h"

namespace offbook::retrieve {

// Words as the full-text index has them (folded and stemmed), without English function words
// ("what", "the", "did"); sorted, once each.
std::vector<std::string> content_words(const store::WordCutter& cutter, std::string_view text);

}  // namespace offbook::retrieve
