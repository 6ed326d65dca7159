#include "src/learn/adapter_files.h"

#include "src/base/file_system_memory.h"
#include "src/ingest/content_hash.h"

namespace offbook::learn {

std::string store_adapter(store::Corpus& corpus, const model::LoraAdapter& adapter,
                          const std::vector<store::TrainedOn>& documents,
                          const nlohmann::json& info) {
  MemoryFileSystem files;
  model::write_peft(files, "/adapter", adapter);
  const auto weights = files.open("/adapter/adapter_model.safetensors");
  const auto config = files.open("/adapter/adapter_config.json");
  store::AdapterRecord record{.id = ingest::hash_bytes(weights->bytes()),
                              .base = adapter.base,
                              .info = info,
                              .documents = documents};
  record.info["peft"] = parse_json(config->bytes(), "adapter_config.json", uint64_t{1} << 20);
  corpus.adapters().put(record, weights->bytes());
  return record.id;
}

model::LoraAdapter load_adapter(store::Corpus& corpus, const std::string& id,
                                const Fingerprint& base) {
  const auto record = corpus.adapters().find(id);
  OB_REQUIRE(record, NotFound, "there is no adapter {} in {}", id, corpus.directory().string());
  OB_REQUIRE(record->base == base, InvalidArgument,
             "adapter {} was trained on model {}, not on {}; train again, or ask with that model",
             id, record->base.model, base.model);
  const auto weights = std::make_shared<Tensor>(corpus.adapters().load(id));
  const std::string where = "adapter " + id;
  const nlohmann::json peft = record->info.value("peft", nlohmann::json::object());
  return model::parse_peft(
      JsonFields(peft, where),
      *model::SafetensorsFile::parse({weights->raw(), static_cast<size_t>(weights->bytes())}, where,
                                     weights));
}

std::optional<std::string> usable_adapter(store::Corpus& corpus, int64_t generation,
                                          const Fingerprint& base) {
  for (const store::Generation& g : corpus.generations().list()) {
    if (g.number == generation && !g.adapter.empty() && !g.is_adapter_stale) {
      const auto record = corpus.adapters().find(g.adapter);
      return record && record->base == base ? std::optional(g.adapter) : std::nullopt;
    }
  }
  return std::nullopt;
}

std::map<std::string, std::string> usable_group_adapters(store::Corpus& corpus, int64_t generation,
                                                         const Fingerprint& base) {
  std::map<std::string, std::string> out;
  for (const store::GroupAdapter& g : corpus.generations().group_adapters(generation)) {
    const auto record = corpus.adapters().find(g.adapter);
    if (record && !record->is_stale && record->base == base) {
      out[g.group] = g.adapter;
    }
  }
  return out;
}

std::string why_not_used(store::Corpus& corpus, int64_t generation, const Fingerprint& base) {
  for (const store::Generation& g : corpus.generations().list()) {
    if (g.number != generation || g.adapter.empty()) {
      continue;
    }
    const std::string name = "its adapter " + g.adapter.substr(0, 8);
    if (g.is_adapter_stale) {
      return name + " was trained on a document that was removed";
    }
    const auto record = corpus.adapters().find(g.adapter);
    if (record && !(record->base == base)) {
      return fmt::format("{} was trained on model {}, not on {}", name,
                         record->base.model.substr(0, 8), base.model.substr(0, 8));
    }
  }
  return "";
}

}  // namespace offbook::learn
