// The tokenizer of the full-text index, called directly.
#pragma once
#include <functional>
#include <string_view>

#include "src/store/sqlite.h"

struct fts5_tokenizer;
struct Fts5Tokenizer;
struct fts5_api;

namespace offbook::store {

// FTS5 of a connection; Unsupported when SQLite was built without.
fts5_api* fts5_api_of(Database& db);

// Cuts words exactly as the table passage_text does. Must not outlive the connection.
class WordCutter {
 public:
  explicit WordCutter(Database& db);
  ~WordCutter();
  WordCutter(const WordCutter&) = delete;
  WordCutter& operator=(const WordCutter&) = delete;

  // Calls visit(term as indexed, word as written) for every word of a text.
  using Visit = std::function<void(std::string_view term, std::string_view word)>;
  void cut(std::string_view text, const Visit& visit) const;

 private:
  std::unique_ptr<fts5_tokenizer> functions_;
  Fts5Tokenizer* tokenizer_ = nullptr;
};

}  // namespace offbook::store
