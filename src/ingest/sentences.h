// A paragraph → sentences, by rules.
#pragma once
#include <string_view>
#include <vector>

#include "src/records/document.h"

namespace offbook::ingest {

// Spans of the sentences in `paragraph`, in order, without white space at their ends; together they
// hold every character that is not white space. A sentence ends at . ! ? … (and their closing
// quotes and brackets) before white space and something that is no lower-case letter, but not after
// an abbreviation ("Mr.", "e.g.", "J.", "No. 5") nor inside a number; at 。！？।؟ always; and at a
// line end, unless the paragraph looks hard-wrapped (lines of nearly one width). About 200 MB/s.
std::vector<ByteSpan> split_sentences(std::string_view paragraph);

// Spans of the stretches between blank lines, without white space at their ends.
std::vector<ByteSpan> split_paragraphs(std::string_view text);

}  // namespace offbook::ingest
