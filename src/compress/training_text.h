// Plain text for training compressors: documents as tokens, windows drawn from them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/base/file_system.h"
#include "src/base/random.h"
#include "src/text/tokenizer.h"

namespace offbook::compress {

// Documents of one kind or several, tokenised. Immutable once read; thread-safe then.
class TrainingText {
 public:
  // A stretch of one document (or of neighbours, where documents are short).
  struct Window {
    std::string group;
    size_t document = 0;  // of its first token
    std::vector<int32_t> tokens;
  };

  void add(std::string group, std::vector<int32_t> tokens);
  size_t documents() const noexcept { return documents_.size(); }
  int64_t tokens() const noexcept { return ends_.empty() ? 0 : ends_.back(); }

  // `length` tokens from a place at random; long documents are drawn as often as they have tokens.
  // A document that is too short is continued with those behind it. InvalidArgument when there is
  // less text than that.
  std::vector<int32_t> draw(Random& random, int64_t length) const;

  // Up to `count` windows that do not overlap, the same ones every time, spread evenly: one a
  // document before any document gives a second. Documents shorter than `length` give none.
  std::vector<Window> held_out(size_t count, int64_t length) const;

 private:
  struct Document {
    std::string group;
    std::vector<int32_t> tokens;
  };
  std::vector<Document> documents_;
  std::vector<int64_t> ends_;  // running sum of lengths
};

struct ReadTextOptions {
  double share = 1;                 // of the documents, chosen by number and seed
  int64_t max_tokens = 64'000'000;  // reading stops there (4 bytes each)
  uint64_t seed = 0;
};

// Adds a file's documents: .txt (one document), .jsonl or .jsonl.zst (one object a line with "text"
// and, where it has one, "group" or "domain"). Errors: NotFound; Corrupt with file and line;
// Unsupported for other endings. Memory: 4 bytes a token and the longest line (64 MiB at most).
void read_training_text(FileSystem& fs, const std::filesystem::path& path,
                        const text::Tokenizer& tokenizer, const ReadTextOptions& options,
                        TrainingText& to);

// For each window the number of another: of another document, in the same group where there is one.
// Partners are mutual as far as numbers allow. InvalidArgument when all are of one document.
std::vector<size_t> other_documents(const std::vector<TrainingText::Window>& windows);

}  // namespace offbook::compress
