// Records of a question set as documents of one corpus, cut as `learn` cuts files.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/ingest/passages.h"
#include "src/ingest/reader.h"
#include "src/ingest/token_counter.h"
#include "src/store/corpus.h"

namespace offbook::bars {

// Stores every record's text as document "<id>.txt" of the generation; returns the documents as
// read, in the order of the records.
inline std::vector<Document> put_records(store::Corpus& corpus, int64_t generation,
                                         const std::vector<nlohmann::json>& records,
                                         const ingest::TokenCounter& counter) {
  std::vector<Document> documents;
  store::Batch batch(corpus, {});
  for (const nlohmann::json& record : records) {
    const auto text = record["text"].get<std::string>();
    const ingest::Source source{.path = record["id"].get<std::string>() + ".txt",
                                .bytes = std::as_bytes(std::span(text.data(), text.size()))};
    documents.push_back(ingest::read_document(source, {}).document);
    auto passages = ingest::cut_passages(documents.back(), {}, counter);
    corpus.documents().put(generation, documents.back(), passages);
    batch.unit_done();
  }
  batch.commit();
  return documents;
}

}  // namespace offbook::bars
