#include "src/store/example_table.h"

#include <nlohmann/json.hpp>

namespace offbook::store {
namespace {

using nlohmann::json;

constexpr const char* kColumns =
    "SELECT id, document_id, question, answers, passages, source, is_kept, reason, is_stale "
    "FROM examples ";

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

ExampleRecord read_row(const Query& q) {
  try {
    return {.example = {.id = q.string(0),
                        .question = q.string(2),
                        .answers = json::parse(q.text(3)).get<std::vector<std::string>>(),
                        .document_id = q.string(1),
                        .passages = json::parse(q.text(4)).get<std::vector<int64_t>>(),
                        .source = static_cast<Example::Source>(q.integer(5))},
            .is_kept = q.integer(6) != 0,
            .reason = q.string(7),
            .is_stale = q.integer(8) != 0};
  } catch (const json::exception& e) {
    OB_THROW(Corrupt, "example {}: {}", q.string(0), e.what());
  }
}

}  // namespace

void ExampleTable::put(const ExampleRecord& record) {
  const Example& e = record.example;
  db_.run(
      "INSERT INTO examples(id, document_id, question, answers, passages, source, is_kept, reason, "
      "is_stale) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT(id) DO UPDATE SET "
      "document_id = ?2, question = ?3, answers = ?4, passages = ?5, source = ?6, is_kept = ?7, "
      "reason = ?8, is_stale = ?9",
      e.id, e.document_id, e.question, dump(e.answers), dump(e.passages),
      static_cast<int>(e.source), record.is_kept, record.reason, record.is_stale);
}

std::vector<ExampleRecord> ExampleTable::of_document(const std::string& document_id) {
  std::vector<ExampleRecord> records;
  Query q = db_.query(std::string(kColumns) + "WHERE document_id = ?1 ORDER BY id", document_id);
  while (q.step()) {
    records.push_back(read_row(q));
  }
  return records;
}

std::vector<Example> ExampleTable::usable() {
  std::vector<Example> examples;
  Query q = db_.query(std::string(kColumns) + "WHERE is_kept AND NOT is_stale ORDER BY id");
  while (q.step()) {
    examples.push_back(read_row(q).example);
  }
  return examples;
}

int64_t ExampleTable::erase_made(const std::string& document_id, int64_t passage) {
  return db_.run("DELETE FROM examples WHERE document_id = ?1 AND source != 0 AND passages = ?2",
                 document_id, dump(json::array({passage})));
}

int64_t ExampleTable::erase_document(const std::string& document_id) {
  return db_.run("DELETE FROM examples WHERE document_id = ?1", document_id);
}

}  // namespace offbook::store
