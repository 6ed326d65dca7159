#include "src/store/dump.h"

#include <sqlite3.h>

#include "src/store/hash.h"

namespace offbook::store {
namespace {

struct Table {
  const char* name;
  const char* rows;
};

constexpr Table kTables[] = {
    {"settings", "SELECT key, value FROM settings ORDER BY key"},
    {"documents",
     "SELECT id, path, title, media_type, content_hash, source_bytes, text_bytes, text_hash, "
     "cut_hash, passage_count, sections FROM documents ORDER BY id, content_hash, cut_hash"},
    {"passages",
     "SELECT d.id, p.id & 16777215, p.begin, p.end, p.base_tokens, p.encoder_tokens, p.page, "
     "p.headings FROM passages p JOIN documents d ON d.number = p.id >> 24 "
     "ORDER BY d.id, d.content_hash, d.cut_hash, p.id"},
    {"passage_terms", "SELECT term, doc, cnt FROM passage_terms ORDER BY term"},
    {"segments",
     "SELECT d.id, s.ordinal, s.first_passage, s.last_passage, s.begin, s.end, s.token_count, "
     "s.tokens, s.token_spans FROM segments s JOIN documents d ON d.number = s.document "
     "ORDER BY d.id, d.content_hash, d.cut_hash, s.ordinal"},
    {"contexts",
     "SELECT key, method, weights, base_model, base_family, kind, ratio, tokens_before, "
     "tokens_after, artefact, bytes FROM contexts ORDER BY key"},
    {"segment_contexts",
     "SELECT d.id, u.ordinal, u.key FROM segment_contexts u JOIN documents d ON d.number = "
     "u.document ORDER BY d.id, d.content_hash, d.cut_hash, u.ordinal, u.key"},
    {"vectors",
     "SELECT d.id, v.encoder, v.artefact, v.row_count, v.dims FROM vectors v "
     "JOIN documents d ON d.number = v.document ORDER BY d.id, d.content_hash, d.cut_hash, "
     "v.encoder"},
    {"adapters",
     "SELECT id, base_model, base_family, artefact, info, is_stale FROM adapters ORDER BY id"},
    {"adapter_documents", "SELECT * FROM adapter_documents ORDER BY 1, 2"},
    {"examples", "SELECT * FROM examples ORDER BY id"},
    {"generations", "SELECT number, state, adapter, settings, note FROM generations ORDER BY 1"},
    {"generation_documents",
     "SELECT g.generation, d.id, d.content_hash, d.cut_hash FROM generation_documents g "
     "JOIN documents d ON d.number = g.document ORDER BY 1, 2, 3, 4"},
    {"fidelity",
     "SELECT f.generation, d.id, f.method, f.score, f.lower, f.upper, f.questions, f.use_slots "
     "FROM fidelity f JOIN documents d ON d.number = f.document "
     "ORDER BY 1, 2, d.content_hash, d.cut_hash, 3"},
    {"group_adapters", "SELECT generation, name, adapter, note FROM group_adapters ORDER BY 1, 2"},
    {"ratios",
     "SELECT r.generation, d.id, r.method, r.ratio, r.score, r.probes FROM ratios r JOIN documents "
     "d ON d.number = r.document ORDER BY 1, 2, d.content_hash, d.cut_hash, 3"},
    {"jobs", "SELECT stage, unit, input, state, detail, artefact FROM jobs ORDER BY stage, unit"},
};

std::string cell(const Query& q, int column) {
  switch (sqlite3_column_type(q.raw(), column)) {
    case SQLITE_NULL:
      return "null";
    case SQLITE_INTEGER:
      return std::to_string(q.integer(column));
    case SQLITE_FLOAT:
      return fmt::format("{:.17g}", q.real(column));
    case SQLITE_BLOB:
      return "blob:" + to_hex(Hasher().add(q.blob(column)).digest());
    default:
      return nlohmann::json(q.text(column))
          .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
}

}  // namespace

void dump(Corpus& corpus, std::ostream& out) {
  for (const Table& table : kTables) {
    Query q = corpus.db().query(table.rows);
    const int columns = sqlite3_column_count(q.raw());
    while (q.step()) {
      out << table.name;
      for (int column = 0; column < columns; ++column) {
        out << '\t' << cell(q, column);
      }
      out << '\n';
    }
  }
}

}  // namespace offbook::store
