// Plain values that the stages hand to each other. No behaviour lives here.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace offbook {

// Half-open byte range [begin, end) of a document's text (UTF-8, as ingest made it).
struct ByteSpan {
  uint64_t begin = 0;
  uint64_t end = 0;
  bool operator==(const ByteSpan&) const = default;
};

// Where a stretch of text stands in its source: a heading path or a page, whichever the format has.
struct Section {
  ByteSpan span;
  std::vector<std::string> headings;  // outermost first; empty where the format has none
  std::optional<int> page;            // from 1
};

// A file (or one record of a csv/jsonl/zip) turned into text.
struct Document {
  std::string id;            // stable: hex XXH3-128 of the path relative to the folder (and record number)
  std::string path;          // relative to the learned folder, '/'-separated; "a.csv#12" for record 12
  std::string title;         // from the format, else the file name
  std::string media_type;    // "text/plain", "application/pdf", …
  std::string content_hash;  // hex XXH3-128 of the source bytes
  uint64_t source_bytes = 0;
  int64_t modified_ns = 0;
  std::string text;               // UTF-8, normalised line ends
  std::vector<Section> sections;  // in order, not overlapping, together covering the text
};

// A stretch of one document, cut by structure first, that retrieval indexes and citations name.
struct Passage {
  int64_t id = 0;  // given by the store; 0 = not stored yet
  std::string document_id;
  int ordinal = 0;  // from 0, in document order
  ByteSpan span;
  std::vector<std::string> headings;
  std::optional<int> page;
  std::string text;        // document.text[span]
  int base_tokens = 0;     // by the language model's tokenizer
  int encoder_tokens = 0;  // by the sentence encoder's; never above its window
};

// A run of whole passages of one document, at most 1,536 base tokens: what a compressor reads at once.
struct Segment {
  std::string document_id;
  int ordinal = 0;
  int first_passage = 0;  // ordinals [first_passage, last_passage]
  int last_passage = 0;
  ByteSpan span;
  std::vector<int32_t> tokens;              // of the base tokenizer
  std::vector<ByteSpan> token_spans;        // one a token, in the document's text
};

}  // namespace offbook
