// Documents, their text and their passages.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "src/records/document.h"
#include "src/store/sqlite.h"

namespace offbook::store {

using Clock = std::function<int64_t()>;  // nanoseconds since 1970

// Passage k of document d has id d << 24 | k.
inline constexpr int kOrdinalBits = 24;
inline constexpr int64_t document_of(int64_t passage_id) {
  return passage_id >> kOrdinalBits;
}

// One stored version of a document, without its text and sections.
struct StoredDocument {
  int64_t number = 0;
  Document document;
  uint64_t text_bytes = 0;
  int passage_count = 0;
};

// Views of the corpus's connection; cheap to make, must not outlive the corpus.
class DocumentTable {
 public:
  DocumentTable(Database& db, Clock clock) : db_(db), clock_(std::move(clock)) {}

  // Stores a document for a generation in place of the version of the same id it had there, and
  // sets the passages' ids. The same version again (content, text, cuts) is not written again.
  // Passages must be in order with ordinals 0, 1, … and text equal to the document's at their span;
  // InvalidArgument otherwise. Returns the document's number.
  int64_t put(int64_t generation, const Document& document, std::vector<Passage>& passages);
  // Takes a document out of a generation only; false when it is not in there.
  bool exclude(int64_t generation, const std::string& document_id);

  // By path. Cost: one row a document, no text.
  std::vector<StoredDocument> list(int64_t generation);
  // By id or by path.
  std::optional<StoredDocument> find(int64_t generation, const std::string& id_or_path);
  // With text and sections. NotFound.
  Document load(int64_t number);
  // A stretch of the text. NotFound, Corrupt; InvalidArgument past its end.
  // Cost: unpacks 64 KiB for each 64 KiB touched.
  std::string text(int64_t number, ByteSpan span);
  std::vector<Passage> passages(int64_t number);  // in order, with text
  Passage passage(int64_t passage_id);            // NotFound
  int64_t passage_count();                        // of all versions

  // Rows of one version; used by Corpus::remove_document and repairs.
  void erase(int64_t number);
  // Fills the full-text index again from the texts.
  void rebuild_text_index();

 private:
  int64_t insert(const Document& document, const std::string& text_hash,
                 const std::string& cut_hash, int64_t passages);
  void insert_text(int64_t number, const std::string& text);
  void insert_passages(int64_t number, std::vector<Passage>& passages);

  Database& db_;
  Clock clock_;
};

}  // namespace offbook::store
