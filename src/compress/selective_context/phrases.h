// Where the phrases of a text are: read from a file that a parser wrote, or found by rules.
#pragma once
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file_system.h"
#include "src/compress/selective_context/units.h"

namespace offbook::compress {

// Spans of the phrases of documents, by document id, in bytes of the documents' text.
//
// The file has one JSON object a line: {"id": "…", "phrases": [[0, 7], [8, 12], …]}, begin and end
// in characters (code points) of the document's text as the parser got it, rising and not
// overlapping: every merged noun chunk, and every other word or punctuation mark by itself.
class PhraseFile {
 public:
  // Corrupt, with path and line: no JSON, a field missing or of another type, spans that do not
  // rise, an id twice. NotFound and Io as the file system gives them.
  static PhraseFile read(FileSystem& fs, const std::filesystem::path& path);

  bool has(const std::string& id) const { return spans_.count(id) != 0; }
  // In bytes of `text`, the document's. NotFound for an unknown id, Corrupt for a span behind the
  // end.
  std::vector<ByteSpan> phrases(const std::string& id, std::string_view text) const;

 private:
  std::string path_;
  std::map<std::string, std::vector<ByteSpan>> spans_;  // in characters
};

// Spans of the original text as spans of the collapsed one; empty ones are dropped.
std::vector<ByteSpan> to_collapsed(const CollapsedText& text, std::span<const ByteSpan> spans);

// The method's name where phrases come from approximate_phrases().
inline constexpr std::string_view kApproximatePhrases = "phrase-approx";

// Noun groups and single words by rules: determiners, adjectives and nouns join until a function
// word, a verb of a list of common ones, an adverb in -ly or punctuation comes; everything else
// stands alone. English; in other languages runs of words. Not spaCy's chunks, and never called so.
// Linear.
std::vector<ByteSpan> approximate_phrases(std::string_view collapsed);

}  // namespace offbook::compress
