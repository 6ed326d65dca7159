// Adapters in and out of a corpus.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "src/model/import/lora_adapter.h"
#include "src/store/corpus.h"

namespace offbook::learn {

// Keeps an adapter with what it was trained on; returns its id, a hash of its weights. The same
// adapter again changes nothing. `info`: what the trainer wants to show, kept beside it.
std::string store_adapter(store::Corpus& corpus, const model::LoraAdapter& adapter,
                          const std::vector<store::TrainedOn>& documents,
                          const nlohmann::json& info);

// NotFound, InvalidArgument (stale: a document it was trained on was removed; or trained on another
// model than `base`, naming both), Corrupt.
model::LoraAdapter load_adapter(store::Corpus& corpus, const std::string& id,
                                const Fingerprint& base);

// Id of the adapter that a generation answers with: none when it has none, or a stale one, or one
// for another model.
std::optional<std::string> usable_adapter(store::Corpus& corpus, int64_t generation,
                                          const Fingerprint& base);

// Ids of the adapters of groups of documents that may be used, by group.
std::map<std::string, std::string> usable_group_adapters(store::Corpus& corpus, int64_t generation,
                                                         const Fingerprint& base);

// Why a generation answers without the adapter it has: for a reader of `ask`'s notes. Empty when it
// has none, or a usable one.
std::string why_not_used(store::Corpus& corpus, int64_t generation, const Fingerprint& base);

}  // namespace offbook::learn
