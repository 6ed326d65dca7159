// Trained adapters and the documents they were trained on.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "src/records/context.h"
#include "src/store/artefact.h"
#include "src/store/document_table.h"
#include "src/store/sqlite.h"

namespace offbook::store {

struct TrainedOn {
  std::string document_id;
  std::string content_hash;
};

struct AdapterRecord {
  std::string id;
  Fingerprint base;
  nlohmann::json info = nlohmann::json::object();  // rank, targets, steps, losses… (the trainer's)
  std::vector<TrainedOn> documents;                // sorted by id when read
  bool is_stale = false;                           // one of the documents was removed
};

// Views of the corpus's connection; must not outlive the corpus.
class AdapterTable {
 public:
  AdapterTable(Database& db, ArtefactStore& artefacts, Clock clock)
      : db_(db), artefacts_(artefacts), clock_(std::move(clock)) {}

  // `safetensors`: the whole file. The id must be new, or the same adapter again.
  void put(const AdapterRecord& record, std::span<const std::byte> safetensors);
  std::optional<AdapterRecord> find(const std::string& id);
  std::vector<AdapterRecord> list();
  // Bytes of the safetensors file, mapped. NotFound; InvalidArgument when the adapter is stale.
  Tensor load(const std::string& id);
  void remove(const std::string& id);

 private:
  Database& db_;
  ArtefactStore& artefacts_;
  Clock clock_;
};

}  // namespace offbook::store
