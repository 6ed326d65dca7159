// Passage vectors, one artefact a document and encoder.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "src/store/context_artefact.h"
#include "src/store/sqlite.h"

namespace offbook::store {

// Views of the corpus's connection; must not outlive the corpus.
class VectorTable {
 public:
  VectorTable(Database& db, ArtefactStore& artefacts) : db_(db), artefacts_(artefacts) {}

  // Ids must be passages of this document (InvalidArgument). Replaces what the encoder had left.
  void put(int64_t document, const VectorBlock& block);
  bool contains(int64_t document, const std::string& encoder);
  std::optional<VectorBlock> get(int64_t document, const std::string& encoder);
  // Of every document of a generation, in order of passage ids; mapped, not copied.
  std::vector<VectorBlock> load(int64_t generation, const std::string& encoder);
  // Documents of a generation that this encoder has not seen yet.
  std::vector<int64_t> missing(int64_t generation, const std::string& encoder);

 private:
  Database& db_;
  ArtefactStore& artefacts_;
};

}  // namespace offbook::store
