#include "src/store/schema.h"

namespace offbook::store {
namespace {

constexpr const char* kFormat1 = R"sql(
CREATE TABLE settings(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE documents(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL, path TEXT NOT NULL, title TEXT NOT NULL, media_type TEXT NOT NULL,
  content_hash TEXT NOT NULL, source_bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
  text_bytes INTEGER NOT NULL, text_hash TEXT NOT NULL, cut_hash TEXT NOT NULL,
  passage_count INTEGER NOT NULL, sections BLOB NOT NULL, stored_ns INTEGER NOT NULL) STRICT;
CREATE INDEX documents_by_id ON documents(id);
CREATE TABLE texts(id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE passages(
  id INTEGER PRIMARY KEY, begin INTEGER NOT NULL, end INTEGER NOT NULL,
  base_tokens INTEGER NOT NULL, encoder_tokens INTEGER NOT NULL, page INTEGER,
  headings TEXT NOT NULL) STRICT;
CREATE VIRTUAL TABLE passage_text USING fts5(
  text, content='', tokenize='porter unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE passage_terms USING fts5vocab(passage_text, 'row');

CREATE TABLE segments(
  document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE, ordinal INTEGER NOT NULL,
  first_passage INTEGER NOT NULL, last_passage INTEGER NOT NULL,
  begin INTEGER NOT NULL, end INTEGER NOT NULL, token_count INTEGER NOT NULL,
  tokens BLOB NOT NULL, token_spans BLOB NOT NULL, PRIMARY KEY(document, ordinal)) STRICT;
CREATE TABLE contexts(
  key TEXT PRIMARY KEY, method TEXT NOT NULL, weights TEXT NOT NULL,
  base_model TEXT NOT NULL, base_family TEXT NOT NULL, kind INTEGER NOT NULL, ratio REAL NOT NULL,
  tokens_before INTEGER NOT NULL, tokens_after INTEGER NOT NULL,
  artefact TEXT, bytes INTEGER NOT NULL, hits INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE segment_contexts(
  document INTEGER NOT NULL, ordinal INTEGER NOT NULL, key TEXT NOT NULL REFERENCES contexts,
  PRIMARY KEY(document, ordinal, key),
  FOREIGN KEY(document, ordinal) REFERENCES segments ON DELETE CASCADE) STRICT, WITHOUT ROWID;
CREATE INDEX segment_contexts_by_key ON segment_contexts(key);
CREATE TABLE vectors(
  document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE, encoder TEXT NOT NULL,
  artefact TEXT NOT NULL, row_count INTEGER NOT NULL, dims INTEGER NOT NULL,
  PRIMARY KEY(document, encoder)) STRICT, WITHOUT ROWID;

CREATE TABLE adapters(
  id TEXT PRIMARY KEY, base_model TEXT NOT NULL, base_family TEXT NOT NULL,
  artefact TEXT NOT NULL, info TEXT NOT NULL, is_stale INTEGER NOT NULL DEFAULT 0,
  created_ns INTEGER NOT NULL) STRICT;
CREATE TABLE adapter_documents(
  adapter TEXT NOT NULL REFERENCES adapters ON DELETE CASCADE, document_id TEXT NOT NULL,
  content_hash TEXT NOT NULL, PRIMARY KEY(adapter, document_id)) STRICT, WITHOUT ROWID;
CREATE INDEX adapter_documents_by_document ON adapter_documents(document_id);
CREATE TABLE examples(
  id TEXT PRIMARY KEY, document_id TEXT NOT NULL, question TEXT NOT NULL, answers TEXT NOT NULL,
  passages TEXT NOT NULL, source INTEGER NOT NULL, is_kept INTEGER NOT NULL, reason TEXT NOT NULL,
  is_stale INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX examples_by_document ON examples(document_id);

CREATE TABLE generations(
  number INTEGER PRIMARY KEY AUTOINCREMENT, state INTEGER NOT NULL,
  adapter TEXT REFERENCES adapters ON DELETE SET NULL, settings TEXT NOT NULL, note TEXT NOT NULL,
  created_ns INTEGER NOT NULL, activated_ns INTEGER) STRICT;
CREATE UNIQUE INDEX one_building_and_one_active ON generations(state) WHERE state IN (0, 1);
CREATE TABLE generation_documents(
  generation INTEGER NOT NULL REFERENCES generations ON DELETE CASCADE,
  document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
  PRIMARY KEY(generation, document)) STRICT, WITHOUT ROWID;
CREATE INDEX generation_documents_by_document ON generation_documents(document);
CREATE TABLE fidelity(
  generation INTEGER NOT NULL REFERENCES generations ON DELETE CASCADE,
  document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE, method TEXT NOT NULL,
  score REAL NOT NULL, lower REAL NOT NULL, upper REAL NOT NULL, questions INTEGER NOT NULL,
  use_slots INTEGER NOT NULL, PRIMARY KEY(generation, document, method)) STRICT, WITHOUT ROWID;
CREATE INDEX fidelity_by_document ON fidelity(document);
CREATE TABLE jobs(
  stage TEXT NOT NULL, unit TEXT NOT NULL, input TEXT NOT NULL, state INTEGER NOT NULL,
  detail TEXT NOT NULL, artefact TEXT, attempts INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
  PRIMARY KEY(stage, unit)) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_by_state ON jobs(stage, state, unit);
)sql";

void create_format_1(Database& db) {
  db.execute(kFormat1);
  db.execute(fmt::format("PRAGMA application_id = {}", kApplicationId));
}

// Adapters of groups of documents.
constexpr const char* kFormat2 = R"sql(
CREATE TABLE group_adapters(
  generation INTEGER NOT NULL REFERENCES generations ON DELETE CASCADE, name TEXT NOT NULL,
  adapter TEXT NOT NULL REFERENCES adapters ON DELETE CASCADE, note TEXT NOT NULL,
  PRIMARY KEY(generation, name)) STRICT, WITHOUT ROWID;
CREATE INDEX group_adapters_by_adapter ON group_adapters(adapter);
CREATE TABLE ratios(
  generation INTEGER NOT NULL REFERENCES generations ON DELETE CASCADE,
  document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE, method TEXT NOT NULL,
  ratio REAL NOT NULL, score REAL NOT NULL, probes INTEGER NOT NULL,
  PRIMARY KEY(generation, document, method)) STRICT, WITHOUT ROWID;
CREATE INDEX ratios_by_document ON ratios(document);
)sql";

void add_format_2(Database& db) {
  db.execute(kFormat2);
}

constexpr Migration kMigrations[] = {create_format_1, add_format_2};

void check_identity(Database& db, int64_t format, int64_t newest) {
  const int64_t application = *db.integer("PRAGMA application_id");
  const bool is_new =
      format == 0 && application == 0 && *db.integer("SELECT count(*) FROM sqlite_master") == 0;
  OB_REQUIRE(is_new || application == kApplicationId, InvalidArgument,
             "{} is not the database of an offbook corpus", db.path());
  OB_REQUIRE(format <= newest, Unsupported,
             "{} has corpus format {}, this offbook reads up to {}; use a newer offbook", db.path(),
             format, newest);
  OB_REQUIRE(format == newest || !db.is_read_only(), Unsupported,
             "{} has corpus format {}, this offbook reads {}; any command that writes (such as "
             "`offbook check --repair`) brings it up to date",
             db.path(), format, newest);
}

}  // namespace

std::span<const Migration> migrations() {
  return kMigrations;
}

void bring_up_to_date(Database& db, std::span<const Migration> steps) {
  const auto newest = static_cast<int64_t>(steps.size());
  int64_t format = *db.integer("PRAGMA user_version");
  check_identity(db, format, newest);
  for (; format < newest; ++format) {
    Transaction transaction(db);
    steps[static_cast<size_t>(format)](db);
    db.execute(fmt::format("PRAGMA user_version = {}", format + 1));
    transaction.commit();
  }
}

}  // namespace offbook::store
