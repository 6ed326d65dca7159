// Questions with answers: given or from self-study, kept or rejected with the reason.
#pragma once
#include <string>
#include <vector>

#include "src/records/context.h"
#include "src/store/sqlite.h"

namespace offbook::store {

struct ExampleRecord {
  Example example;
  bool is_kept = true;
  std::string reason;     // why it was rejected; empty for kept ones
  bool is_stale = false;  // its document was removed; not used
};

// Views of the corpus's connection; must not outlive the corpus.
class ExampleTable {
 public:
  explicit ExampleTable(Database& db) : db_(db) {}

  void put(const ExampleRecord& record);  // replaces the one of the same id
  // All of a document, or all without a document for "", ordered by id; stale ones too.
  std::vector<ExampleRecord> of_document(const std::string& document_id);
  // Kept and not stale, ordered by id.
  std::vector<Example> usable();
  int64_t erase_document(const std::string& document_id);
  // The self-made ones that rest on this passage alone.
  int64_t erase_made(const std::string& document_id, int64_t passage);

 private:
  Database& db_;
};

}  // namespace offbook::store
