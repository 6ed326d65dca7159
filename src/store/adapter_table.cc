#include "src/store/adapter_table.h"

#include "src/store/context_artefact.h"

namespace offbook::store {

void AdapterTable::put(const AdapterRecord& record, std::span<const std::byte> safetensors) {
  const std::string artefact =
      artefacts_.put(adapter_artefact(record.base.model, safetensors, record.info));
  Transaction transaction(db_);
  db_.run(
      "INSERT INTO adapters(id, base_model, base_family, artefact, info, created_ns) "
      "VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(id) DO UPDATE SET "
      "artefact = excluded.artefact, info = excluded.info, is_stale = 0",
      record.id, record.base.model, record.base.family, artefact, record.info.dump(), clock_());
  db_.run("DELETE FROM adapter_documents WHERE adapter = ?1", record.id);
  for (const TrainedOn& document : record.documents) {
    db_.run("INSERT INTO adapter_documents(adapter, document_id, content_hash) VALUES(?1, ?2, ?3)",
            record.id, document.document_id, document.content_hash);
  }
  transaction.commit();
}

std::optional<AdapterRecord> AdapterTable::find(const std::string& id) {
  Query q =
      db_.query("SELECT base_model, base_family, info, is_stale FROM adapters WHERE id = ?1", id);
  if (!q.step()) {
    return std::nullopt;
  }
  AdapterRecord record{.id = id,
                       .base = {.model = q.string(0), .family = q.string(1)},
                       .info = nlohmann::json::parse(q.text(2), nullptr, false),
                       .documents = {},
                       .is_stale = q.integer(3) != 0};
  OB_REQUIRE(!record.info.is_discarded(), Corrupt, "adapter {}: info is no JSON", id);
  Query documents = db_.query(
      "SELECT document_id, content_hash FROM adapter_documents WHERE adapter = ?1 "
      "ORDER BY document_id",
      id);
  while (documents.step()) {
    record.documents.push_back({documents.string(0), documents.string(1)});
  }
  return record;
}

std::vector<AdapterRecord> AdapterTable::list() {
  std::vector<AdapterRecord> records;
  Query q = db_.query("SELECT id FROM adapters ORDER BY id");
  while (q.step()) {
    records.push_back(*find(q.string(0)));
  }
  return records;
}

Tensor AdapterTable::load(const std::string& id) {
  Query q = db_.query("SELECT artefact, is_stale FROM adapters WHERE id = ?1", id);
  OB_REQUIRE(q.step(), NotFound, "no adapter is called '{}'", id);
  OB_REQUIRE(q.integer(1) == 0, InvalidArgument,
             "adapter '{}' was trained on a document that has been removed; train a new one", id);
  return artefacts_.get(q.text(0), ArtefactKind::adapter).at("safetensors");
}

void AdapterTable::remove(const std::string& id) {
  db_.run("DELETE FROM adapters WHERE id = ?1", id);
}

}  // namespace offbook::store
