#include "src/store/document_table.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/store/hash.h"
#include "src/store/pack.h"

namespace offbook::store {
namespace {

using nlohmann::json;

constexpr uint64_t kChunkBytes = 64 << 10;
constexpr uint64_t kMaxSectionsBytes = 1u << 30;
constexpr int64_t kMaxOrdinal = int64_t{1} << kOrdinalBits;

constexpr const char* kColumns =
    "SELECT d.number, d.id, d.path, d.title, d.media_type, d.content_hash, d.source_bytes, "
    "d.modified_ns, d.text_bytes, d.passage_count FROM documents d ";

int64_t first_id(int64_t number) {
  return number << kOrdinalBits;
}
int64_t last_id(int64_t number) {
  return first_id(number) + kMaxOrdinal - 1;
}

StoredDocument read_row(const Query& q) {
  return {.number = q.integer(0),
          .document = {.id = q.string(1),
                       .path = q.string(2),
                       .title = q.string(3),
                       .media_type = q.string(4),
                       .content_hash = q.string(5),
                       .source_bytes = static_cast<uint64_t>(q.integer(6)),
                       .modified_ns = q.integer(7)},
          .text_bytes = static_cast<uint64_t>(q.integer(8)),
          .passage_count = static_cast<int>(q.integer(9))};
}

std::string sections_json(const std::vector<Section>& sections) {
  json list = json::array();
  for (const Section& section : sections) {
    json entry = {section.span.begin, section.span.end, section.headings};
    if (section.page) {
      entry.push_back(*section.page);
    }
    list.push_back(std::move(entry));
  }
  // Headings come from ingest as UTF-8; a stray byte must not end the whole document.
  return list.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<Section> sections_from(const std::string& text) {
  std::vector<Section> sections;
  try {
    for (const json& entry : json::parse(text)) {
      Section section{.span = {entry.at(0), entry.at(1)}, .headings = entry.at(2)};
      if (entry.size() > 3) {
        section.page = entry.at(3).get<int>();
      }
      sections.push_back(std::move(section));
    }
  } catch (const json::exception& e) {
    OB_THROW(Corrupt, "sections of a document: {}", e.what());
  }
  return sections;
}

std::string headings_json(const std::vector<std::string>& headings) {
  return json(headings).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<std::string> headings_from(std::string_view text) {
  try {
    return json::parse(text).get<std::vector<std::string>>();
  } catch (const json::exception& e) {
    OB_THROW(Corrupt, "headings of a passage: {}", e.what());
  }
}

void check_passages(const Document& document, std::span<const Passage> passages) {
  OB_REQUIRE(std::ssize(passages) < kMaxOrdinal, InvalidArgument,
             "{}: {} passages, at most {} fit one document; split the file", document.path,
             passages.size(), kMaxOrdinal - 1);
  for (size_t i = 0; i < passages.size(); ++i) {
    const Passage& p = passages[i];
    OB_REQUIRE(p.ordinal == static_cast<int>(i) && p.span.begin <= p.span.end &&
                   p.span.end <= document.text.size(),
               InvalidArgument, "{}: passage {} has ordinal {} and bytes {}…{} of {}",
               document.path, i, p.ordinal, p.span.begin, p.span.end, document.text.size());
    OB_REQUIRE(
        std::string_view(document.text).substr(p.span.begin, p.span.end - p.span.begin) == p.text,
        InvalidArgument, "{}: passage {} is not the text at its span", document.path, i);
  }
}

std::string hash_of_text(std::string_view text) {
  return to_hex(Hasher().add_text(text).digest());
}

std::string hash_of_cuts(const Document& document, std::span<const Passage> passages) {
  Hasher hasher;
  hasher.add_text(document.title).add_text(sections_json(document.sections));
  for (const Passage& p : passages) {
    const uint64_t numbers[] = {p.span.begin, p.span.end, static_cast<uint64_t>(p.base_tokens),
                                static_cast<uint64_t>(p.encoder_tokens),
                                static_cast<uint64_t>(p.page.value_or(-1))};
    hasher.add(std::as_bytes(std::span(numbers))).add_text(headings_json(p.headings));
  }
  return to_hex(hasher.digest());
}

}  // namespace

int64_t DocumentTable::put(int64_t generation, const Document& document,
                           std::vector<Passage>& passages) {
  check_passages(document, passages);
  const std::string text_hash = hash_of_text(document.text);
  const std::string cut_hash = hash_of_cuts(document, passages);
  Transaction transaction(db_);
  exclude(generation, document.id);
  const auto same = db_.integer(
      "SELECT number FROM documents WHERE id = ?1 AND path = ?2 AND content_hash = ?3 AND "
      "text_hash = ?4 AND cut_hash = ?5",
      document.id, document.path, document.content_hash, text_hash, cut_hash);
  const int64_t number = same ? *same : insert(document, text_hash, cut_hash, std::ssize(passages));
  for (size_t i = 0; i < passages.size(); ++i) {
    passages[i].id = first_id(number) + static_cast<int64_t>(i);
    passages[i].document_id = document.id;
  }
  if (same) {
    // The file was touched without a change; the next run need not read it again.
    db_.run("UPDATE documents SET modified_ns = ?2 WHERE number = ?1", number,
            document.modified_ns);
  } else {
    insert_text(number, document.text);
    insert_passages(number, passages);
  }
  db_.run("INSERT INTO generation_documents(generation, document) VALUES(?1, ?2)", generation,
          number);
  transaction.commit();
  return number;
}

int64_t DocumentTable::insert(const Document& document, const std::string& text_hash,
                              const std::string& cut_hash, int64_t passages) {
  const std::string sections = sections_json(document.sections);
  db_.run(
      "INSERT INTO documents(id, path, title, media_type, content_hash, source_bytes, modified_ns, "
      "text_bytes, text_hash, cut_hash, passage_count, sections, stored_ns) "
      "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
      document.id, document.path, document.title, document.media_type, document.content_hash,
      document.source_bytes, document.modified_ns, uint64_t{document.text.size()}, text_hash,
      cut_hash, passages, compress(std::as_bytes(std::span(sections))), clock_());
  return db_.last_row_id();
}

void DocumentTable::insert_text(int64_t number, const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  OB_REQUIRE(bytes.size() / kChunkBytes < uint64_t{kMaxOrdinal}, InvalidArgument,
             "a text of {} bytes is too long for one document", bytes.size());
  for (uint64_t at = 0; at < bytes.size(); at += kChunkBytes) {
    db_.run("INSERT INTO texts(id, data) VALUES(?1, ?2)",
            first_id(number) + static_cast<int64_t>(at / kChunkBytes),
            compress(bytes.subspan(at, std::min(kChunkBytes, bytes.size() - at))));
  }
}

void DocumentTable::insert_passages(int64_t number, std::vector<Passage>& passages) {
  for (const Passage& p : passages) {
    OB_CHECK(document_of(p.id) == number);
    db_.run(
        "INSERT INTO passages(id, begin, end, base_tokens, encoder_tokens, page, headings) "
        "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        p.id, p.span.begin, p.span.end, p.base_tokens, p.encoder_tokens, p.page,
        headings_json(p.headings));
    db_.run("INSERT INTO passage_text(rowid, text) VALUES(?1, ?2)", p.id, p.text);
  }
}

bool DocumentTable::exclude(int64_t generation, const std::string& document_id) {
  return db_.run(
             "DELETE FROM generation_documents WHERE generation = ?1 AND document IN "
             "(SELECT number FROM documents WHERE id = ?2)",
             generation, document_id) > 0;
}

std::vector<StoredDocument> DocumentTable::list(int64_t generation) {
  std::vector<StoredDocument> documents;
  Query q = db_.query(std::string(kColumns) +
                          "JOIN generation_documents g ON g.document = d.number "
                          "WHERE g.generation = ?1 ORDER BY d.path",
                      generation);
  while (q.step()) {
    documents.push_back(read_row(q));
  }
  return documents;
}

std::optional<StoredDocument> DocumentTable::find(int64_t generation,
                                                  const std::string& id_or_path) {
  Query q = db_.query(std::string(kColumns) +
                          "JOIN generation_documents g ON g.document = d.number "
                          "WHERE g.generation = ?1 AND (d.id = ?2 OR d.path = ?2)",
                      generation, id_or_path);
  return q.step() ? std::optional(read_row(q)) : std::nullopt;
}

Document DocumentTable::load(int64_t number) {
  Query q = db_.query(std::string(kColumns) + "WHERE d.number = ?1", number);
  OB_REQUIRE(q.step(), NotFound, "no document has the number {}", number);
  StoredDocument stored = read_row(q);
  Query sections = db_.query("SELECT sections FROM documents WHERE number = ?1", number);
  sections.step();
  stored.document.sections = sections_from(decompress(sections.blob(0), kMaxSectionsBytes));
  stored.document.text = text(number, {0, stored.text_bytes});
  return std::move(stored.document);
}

std::string DocumentTable::text(int64_t number, ByteSpan span) {
  const auto size = db_.integer("SELECT text_bytes FROM documents WHERE number = ?1", number);
  OB_REQUIRE(size, NotFound, "no document has the number {}", number);
  OB_REQUIRE(span.begin <= span.end && span.end <= static_cast<uint64_t>(*size), InvalidArgument,
             "bytes {}…{} of the {} of document {}", span.begin, span.end, *size, number);
  std::string out;
  if (span.begin == span.end) {
    return out;
  }
  const uint64_t first = span.begin / kChunkBytes;
  const uint64_t last = (span.end - 1) / kChunkBytes;
  Query q = db_.query("SELECT data FROM texts WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
                      first_id(number) + static_cast<int64_t>(first),
                      first_id(number) + static_cast<int64_t>(last));
  while (q.step()) {
    out += decompress(q.blob(0), kChunkBytes);
  }
  const uint64_t expected = std::min((last + 1) * kChunkBytes, static_cast<uint64_t>(*size));
  OB_REQUIRE(out.size() == expected - first * kChunkBytes, Corrupt,
             "text of document {}: {} bytes found, {} wanted", number, out.size(),
             expected - first * kChunkBytes);
  out.erase(0, span.begin - first * kChunkBytes);
  out.resize(span.end - span.begin);
  return out;
}

std::vector<Passage> DocumentTable::passages(int64_t number) {
  const Document document = load(number);
  std::vector<Passage> passages;
  Query q = db_.query(
      "SELECT id, begin, end, base_tokens, encoder_tokens, page, headings FROM passages "
      "WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
      first_id(number), last_id(number));
  while (q.step()) {
    Passage p{.id = q.integer(0),
              .document_id = document.id,
              .ordinal = static_cast<int>(q.integer(0) - first_id(number)),
              .span = {static_cast<uint64_t>(q.integer(1)), static_cast<uint64_t>(q.integer(2))},
              .headings = headings_from(q.text(6)),
              .page = {},
              .text = {},
              .base_tokens = static_cast<int>(q.integer(3)),
              .encoder_tokens = static_cast<int>(q.integer(4))};
    if (const auto page = q.optional_integer(5)) {
      p.page = static_cast<int>(*page);
    }
    OB_REQUIRE(p.span.begin <= p.span.end && p.span.end <= document.text.size(), Corrupt,
               "passage {} has bytes {}…{} of a text of {}", p.id, p.span.begin, p.span.end,
               document.text.size());
    p.text = document.text.substr(p.span.begin, p.span.end - p.span.begin);
    passages.push_back(std::move(p));
  }
  return passages;
}

Passage DocumentTable::passage(int64_t passage_id) {
  Query q = db_.query(
      "SELECT p.begin, p.end, p.base_tokens, p.encoder_tokens, p.page, p.headings, d.id "
      "FROM passages p JOIN documents d ON d.number = ?2 WHERE p.id = ?1",
      passage_id, document_of(passage_id));
  OB_REQUIRE(q.step(), NotFound, "no passage has the id {}", passage_id);
  Passage p{.id = passage_id,
            .document_id = q.string(6),
            .ordinal = static_cast<int>(passage_id & (kMaxOrdinal - 1)),
            .span = {static_cast<uint64_t>(q.integer(0)), static_cast<uint64_t>(q.integer(1))},
            .headings = headings_from(q.text(5)),
            .page = {},
            .text = {},
            .base_tokens = static_cast<int>(q.integer(2)),
            .encoder_tokens = static_cast<int>(q.integer(3))};
  if (const auto page = q.optional_integer(4)) {
    p.page = static_cast<int>(*page);
  }
  p.text = text(document_of(passage_id), p.span);
  return p;
}

int64_t DocumentTable::passage_count() {
  return *db_.integer("SELECT count(*) FROM passages");
}

void DocumentTable::erase(int64_t number) {
  Transaction transaction(db_);
  for (const Passage& p : passages(number)) {
    db_.run("INSERT INTO passage_text(passage_text, rowid, text) VALUES('delete', ?1, ?2)", p.id,
            p.text);
  }
  db_.run("DELETE FROM passages WHERE id BETWEEN ?1 AND ?2", first_id(number), last_id(number));
  db_.run("DELETE FROM texts WHERE id BETWEEN ?1 AND ?2", first_id(number), last_id(number));
  db_.run("DELETE FROM documents WHERE number = ?1", number);
  transaction.commit();
}

void DocumentTable::rebuild_text_index() {
  Transaction transaction(db_);
  db_.run("INSERT INTO passage_text(passage_text) VALUES('delete-all')");
  std::vector<int64_t> numbers;
  Query q = db_.query("SELECT number FROM documents ORDER BY number");
  while (q.step()) {
    numbers.push_back(q.integer(0));
  }
  for (const int64_t number : numbers) {
    for (const Passage& p : passages(number)) {
      db_.run("INSERT INTO passage_text(rowid, text) VALUES(?1, ?2)", p.id, p.text);
    }
  }
  transaction.commit();
}

}  // namespace offbook::store
