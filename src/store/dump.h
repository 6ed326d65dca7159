// A corpus as ordered text, for comparing two of them.
#pragma once
#include <ostream>

#include "src/store/corpus.h"

namespace offbook::store {

// Every table, one row a line, ordered by keys that do not depend on when or in how many attempts
// it was made: no times, no row numbers, no attempts, no modification times of sources. Texts and
// blobs appear as hashes, artefacts as their ids (which are hashes of their content).
void dump(Corpus& corpus, std::ostream& out);

}  // namespace offbook::store
