#include "src/store/vector_table.h"

#include "src/store/document_table.h"

namespace offbook::store {

void VectorTable::put(int64_t document, const VectorBlock& block) {
  const Artefact artefact = to_artefact(block);
  const auto* ids = block.ids.data<int64_t>();
  for (int64_t i = 0; i < block.ids.dim(0); ++i) {
    OB_REQUIRE(document_of(ids[i]) == document && (i == 0 || ids[i - 1] < ids[i]), InvalidArgument,
               "vector {}: passage {} does not rise or is not of document {}", i, ids[i], document);
  }
  const std::string id = artefacts_.put(artefact);
  db_.run(
      "INSERT INTO vectors(document, encoder, artefact, row_count, dims) VALUES(?1, ?2, ?3, ?4, "
      "?5) "
      "ON CONFLICT(document, encoder) DO UPDATE SET artefact = excluded.artefact, "
      "row_count = excluded.row_count, dims = excluded.dims",
      document, block.encoder, id, block.vectors.dim(0), block.vectors.dim(1));
}

bool VectorTable::contains(int64_t document, const std::string& encoder) {
  return db_
      .integer("SELECT 1 FROM vectors WHERE document = ?1 AND encoder = ?2", document, encoder)
      .has_value();
}

std::optional<VectorBlock> VectorTable::get(int64_t document, const std::string& encoder) {
  Query q = db_.query("SELECT artefact FROM vectors WHERE document = ?1 AND encoder = ?2", document,
                      encoder);
  if (!q.step()) {
    return std::nullopt;
  }
  return to_vectors(artefacts_.get(q.text(0), ArtefactKind::vectors));
}

std::vector<VectorBlock> VectorTable::load(int64_t generation, const std::string& encoder) {
  std::vector<VectorBlock> blocks;
  Query q = db_.query(
      "SELECT v.artefact FROM vectors v JOIN generation_documents g ON g.document = v.document "
      "WHERE g.generation = ?1 AND v.encoder = ?2 ORDER BY v.document",
      generation, encoder);
  while (q.step()) {
    blocks.push_back(to_vectors(artefacts_.get(q.text(0), ArtefactKind::vectors)));
  }
  return blocks;
}

std::vector<int64_t> VectorTable::missing(int64_t generation, const std::string& encoder) {
  std::vector<int64_t> documents;
  Query q = db_.query(
      "SELECT document FROM generation_documents WHERE generation = ?1 AND document NOT IN "
      "(SELECT document FROM vectors WHERE encoder = ?2) ORDER BY document",
      generation, encoder);
  while (q.step()) {
    documents.push_back(q.integer(0));
  }
  return documents;
}

}  // namespace offbook::store
