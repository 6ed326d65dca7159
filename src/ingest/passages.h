// A document → passages that retrieval indexes and citations name.
#pragma once
#include <string>
#include <vector>

#include "src/ingest/token_counter.h"
#include "src/records/document.h"

namespace offbook::ingest {

struct PassageOptions {
  int size_tokens = 200;    // most base tokens of a passage, 16…1,536
  int overlap_tokens = 32;  // most base tokens that a passage repeats of the one before; < size / 2
  int encoder_window = 256;  // most encoder tokens of a passage, special tokens counted; ≥ 16
};

// Cuts by structure first: no passage crosses a section (heading, page, record), except that a
// heading with nothing under it goes to its first subsection; then at paragraphs, lines and
// sentences; inside a sentence only where one alone is too long, at white space if there is some,
// and never inside a character. Never longer than options.size_tokens nor options.encoder_window.
// Overlap is made of whole sentences of the same section.
//
// Every character of the document that is not blank is in some passage. Spans begin and end at
// characters that are no ASCII white space; begins and ends rise from passage to passage. The same
// document, options and tokenisers give the same passages. Document ids, headings, pages and counts
// are filled in; `id` is the store's.
//
// InvalidArgument for options out of range, or where one character takes more tokens than a passage
// may have. Thread-safe. Cost: about 2.3 tokenisations of the text by each tokeniser.
std::vector<Passage> cut_passages(const Document& document, const PassageOptions& options,
                                  const TokenCounter& counter);

}  // namespace offbook::ingest
