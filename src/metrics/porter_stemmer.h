// Porter's stemmer with NLTK's extensions, which is what rouge-score stems with.
#pragma once
#include <string>
#include <string_view>

namespace offbook::metrics {

// The stem of a lower-case ASCII word, equal to nltk.stem.porter.PorterStemmer() in its default
// mode NLTK_EXTENSIONS (Porter 1980 with Martin Porter's later rules, a table of irregular forms
// and a few changed conditions). Words of one or two letters come back as they are. Cost: linear.
std::string porter_stem(std::string_view word);

}  // namespace offbook::metrics
