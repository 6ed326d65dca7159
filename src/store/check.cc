#include "src/store/check.h"

#include <algorithm>
#include <set>

#include "src/store/fts5_tokenizer.h"
#include "src/store/hash.h"
#include "src/store/shelf.h"

namespace offbook::store {
namespace {

bool is_left_by_a_writer(const std::filesystem::path& path) {
  return path.string().ends_with(kTemporarySuffix);
}

// One row that names an artefact, and how to do without it.
struct Reference {
  const char* table;
  const char* select;  // artefact, name of the thing, document id or "", rowkey
  const char* drop;    // ?1 = the artefact
  const char* stage;   // whose units make it again
  ArtefactKind kind;
};

constexpr Reference kReferences[] = {
    {"vectors",
     "SELECT v.artefact, d.path, d.id FROM vectors v JOIN documents d ON d.number = v.document",
     "DELETE FROM vectors WHERE artefact = ?1", kStageIndex, ArtefactKind::vectors},
    {"compressed context",
     "SELECT c.artefact, c.method || ' of ' || d.path, d.id FROM contexts c "
     "JOIN segment_contexts u ON u.key = c.key JOIN documents d ON d.number = u.document "
     "WHERE c.artefact IS NOT NULL",
     "UPDATE contexts SET artefact = NULL WHERE artefact = ?1", kStageCompress,
     ArtefactKind::context},
    {"adapter", "SELECT artefact, id, '' FROM adapters", "DELETE FROM adapters WHERE artefact = ?1",
     kStageTrain, ArtefactKind::adapter},
    {"job state", "SELECT artefact, stage || ' ' || unit, '' FROM jobs WHERE artefact IS NOT NULL",
     "UPDATE jobs SET artefact = NULL WHERE artefact = ?1", nullptr, ArtefactKind::job_state},
};

std::vector<int64_t> document_numbers(Database& db) {
  std::vector<int64_t> numbers;
  for (Query q = db.query("SELECT number FROM documents ORDER BY 1"); q.step();) {
    numbers.push_back(q.integer(0));
  }
  return numbers;
}

// Entries of document 0 are of no document.
bool belongs(const Shelf::Entry& e, const std::vector<int64_t>& living) {
  return e.document == 0 || std::ranges::binary_search(living, e.document);
}

class Checker {
 public:
  Checker(Corpus& corpus, bool repair)
      : corpus_(corpus), db_(corpus.db()), repair_(repair), cutter_(corpus.db()) {}

  CheckReport run() {
    check_pages();
    check_documents();
    check_text_index();
    check_artefacts();
    check_files();
    check_shelf();
    return std::move(report_);
  }

 private:
  void damage(std::string what, bool is_repaired) {
    report_.findings.push_back({std::move(what), true, is_repaired});
  }

  void undo_units(const char* stage, const std::string& document_id) {
    if (stage == nullptr) {
      return;
    }
    db_.run(
        "UPDATE jobs SET state = 0 WHERE stage = ?1 AND state = 2 AND "
        "(?2 = '' OR unit = ?2 OR substr(unit, 1, length(?2) + 1) = ?2 || '/')",
        stage, document_id);
  }

  void check_pages() {
    for (Query q = db_.query("PRAGMA integrity_check(20)"); q.step();) {
      if (q.text(0) != "ok") {
        damage(fmt::format("corpus.db: {}", q.text(0)), false);
      }
    }
    for (Query q = db_.query("PRAGMA foreign_key_check"); q.step();) {
      damage(fmt::format("corpus.db: row {} of {} names a row of {} that is not there",
                         q.integer(1), q.text(0), q.text(2)),
             false);
    }
  }

  // Empty when the text and every passage of the document are as they were stored.
  std::string fault_of(int64_t number, const std::string& text_hash, int64_t passage_count) {
    try {
      const Document document = corpus_.documents().load(number);
      if (to_hex(Hasher().add_text(document.text).digest()) != text_hash) {
        return "its text does not match its hash";
      }
      const auto passages = corpus_.documents().passages(number);
      if (std::ssize(passages) != passage_count) {
        return fmt::format("{} passages instead of {}", passages.size(), passage_count);
      }
      report_.passages += passage_count;
      return {};
    } catch (const Error& e) {
      return e.what();
    }
  }

  void check_documents() {
    struct Row {
      int64_t number;
      std::string id, path, text_hash;
      int64_t passages;
    };
    std::vector<Row> rows;
    for (Query q = db_.query(
             "SELECT number, id, path, text_hash, passage_count FROM documents ORDER BY number");
         q.step();) {
      rows.push_back({q.integer(0), q.string(1), q.string(2), q.string(3), q.integer(4)});
    }
    for (const Row& row : rows) {
      ++report_.documents;
      const std::string fault = fault_of(row.number, row.text_hash, row.passages);
      if (fault.empty()) {
        continue;
      }
      damage(fmt::format("document {}: {}", row.path, fault), repair_);
      if (repair_) {
        drop_document(row.number, row.id);
      }
    }
    const char* orphans = " id >> 24 NOT IN (SELECT number FROM documents)";
    for (const char* table : {"texts", "passages"}) {
      const auto count =
          *db_.integer(fmt::format("SELECT count(*) FROM {} WHERE{}", table, orphans));
      if (count > 0) {
        damage(fmt::format("corpus.db: {} rows of {} belong to no document", count, table),
               repair_);
        if (repair_) {
          db_.run(fmt::format("DELETE FROM {} WHERE{}", table, orphans));
        }
      }
    }
  }

  // Its rows in the full-text index stay behind; that is found next and rebuilt.
  void drop_document(int64_t number, const std::string& id) {
    Transaction transaction(db_);
    for (const char* table : {"texts", "passages"}) {
      db_.run(fmt::format("DELETE FROM {} WHERE id >> 24 = ?1", table), number);
    }
    db_.run("DELETE FROM documents WHERE number = ?1", number);
    for (const char* stage : {kStageIngest, kStageIndex, kStageCompress}) {
      undo_units(stage, id);
    }
    transaction.commit();
  }

  std::string text_index_fault() {
    const auto strangers = *db_.integer(
        "SELECT count(*) FROM (SELECT id FROM passages EXCEPT SELECT id FROM "
        "passage_text_docsize) UNION ALL SELECT count(*) FROM (SELECT id FROM "
        "passage_text_docsize EXCEPT SELECT id FROM passages) ORDER BY 1 DESC LIMIT 1");
    if (strangers > 0) {
      return fmt::format("{} passages are in it or missing in it wrongly", strangers);
    }
    try {
      if (!db_.is_read_only()) {
        db_.run("INSERT INTO passage_text(passage_text) VALUES('integrity-check')");
      }
      return wrong_length();
    } catch (const Error& e) {
      return e.what();
    }
  }

  // The index keeps how many words each passage has: compared with the text.
  std::string wrong_length() {
    std::vector<int64_t> numbers;
    for (Query q = db_.query("SELECT number FROM documents"); q.step();) {
      numbers.push_back(q.integer(0));
    }
    for (const int64_t number : numbers) {
      for (const Passage& p : corpus_.documents().passages(number)) {
        uint64_t words = 0;
        cutter_.cut(p.text, [&](std::string_view, std::string_view) { ++words; });
        Query q = db_.query("SELECT sz FROM passage_text_docsize WHERE id = ?1", p.id);
        uint64_t indexed = 0;
        if (q.step()) {
          for (const std::byte byte : q.blob(0)) {
            indexed = indexed << 7 | (static_cast<uint64_t>(byte) & 127);
          }
        }
        if (words != indexed) {
          return fmt::format("passage {} has {} words, indexed are {}", p.id, words, indexed);
        }
      }
    }
    return {};
  }

  void check_text_index() {
    const std::string fault = text_index_fault();
    if (fault.empty()) {
      return;
    }
    const bool can_rebuild = repair_;
    if (can_rebuild) {
      corpus_.documents().rebuild_text_index();
    }
    damage(fmt::format("full-text index: {}", fault), can_rebuild);
  }

  std::string artefact_fault(const std::string& id, ArtefactKind kind) {
    try {
      const Artefact artefact = corpus_.artefacts().get(id, kind);
      if (kind == ArtefactKind::vectors) {
        to_vectors(artefact);
      } else if (kind == ArtefactKind::context) {
        to_context(artefact, 0);
      }
      return {};
    } catch (const Error& e) {
      return e.what();
    }
  }

  void check_artefacts() {
    for (const Reference& reference : kReferences) {
      struct Row {
        std::string artefact, name, document;
      };
      std::vector<Row> rows;
      for (Query q = db_.query(reference.select); q.step();) {
        rows.push_back({q.string(0), q.string(1), q.string(2)});
      }
      for (const Row& row : rows) {
        ++report_.artefacts;
        const std::string fault = artefact_fault(row.artefact, reference.kind);
        if (!fault.empty()) {
          damage(fmt::format("{} {}: {}", reference.table, row.name, fault), repair_);
          drop_artefact(reference, row.artefact, row.document);
        }
      }
    }
  }

  void drop_artefact(const Reference& reference, const std::string& id,
                     const std::string& document) {
    if (!repair_) {
      return;
    }
    Transaction transaction(db_);
    db_.run(reference.drop, id);
    undo_units(reference.stage, document);
    transaction.commit();
  }

  void check_files() {
    const std::vector<std::string> used = referenced_artefacts(db_);
    const ArtefactStore::Listing listing = corpus_.artefacts().list();
    for (const std::string& id : listing.ids) {
      if (!std::ranges::binary_search(used, id)) {
        report_.findings.push_back(
            {fmt::format("artefact {}: no row names it", id), false, repair_});
      }
    }
    for (const auto& path : listing.unexpected) {
      report_.findings.push_back({fmt::format("{}: no artefact", path.string()), false,
                                  repair_ && is_left_by_a_writer(path)});
    }
    if (repair_) {
      collect_garbage(corpus_);
    }
  }

  // A cache: what is wrong with it costs time, never an answer.
  void check_shelf() {
    Shelf shelf = shelf_of(corpus_);
    const std::vector<int64_t> living = document_numbers(db_);
    for (const Shelf::Entry& e : shelf.entries()) {
      ++report_.shelf_entries;
      report_.shelf_bytes += e.bytes;
      std::string fault = shelf.fault(e);
      if (fault.empty() && !belongs(e, living)) {
        fault = "its document is gone";
      }
      if (!fault.empty()) {
        if (repair_) {
          shelf.remove(e);
        }
        report_.findings.push_back(
            {fmt::format("shelf {}: {}", e.path.string(), fault), false, repair_});
      }
    }
  }

  Corpus& corpus_;
  Database& db_;
  bool repair_;
  WordCutter cutter_;
  CheckReport report_;
};

}  // namespace

bool CheckReport::is_sound() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& f) { return f.is_damage && !f.is_repaired; });
}

CheckReport check(Corpus& corpus, bool repair) {
  OB_REQUIRE(!repair || !corpus.db().is_read_only(), InvalidArgument,
             "corpus {} is open for reading; a repair writes", corpus.directory().string());
  return Checker(corpus, repair).run();
}

std::vector<std::string> referenced_artefacts(Database& db) {
  std::vector<std::string> ids;
  Query q = db.query(
      "SELECT artefact FROM vectors UNION SELECT artefact FROM contexts WHERE artefact IS NOT NULL "
      "UNION SELECT artefact FROM adapters UNION SELECT artefact FROM jobs "
      "WHERE artefact IS NOT NULL ORDER BY 1");
  while (q.step()) {
    ids.push_back(q.string(0));
  }
  return ids;
}

Garbage collect_garbage(Corpus& corpus) {
  OB_REQUIRE(!corpus.db().is_in_transaction() && !corpus.db().is_read_only(), InvalidArgument,
             "garbage of {} is collected between writes, by the writer",
             corpus.directory().string());
  const std::vector<std::string> used = referenced_artefacts(corpus.db());
  const ArtefactStore::Listing listing = corpus.artefacts().list();
  Garbage garbage;
  for (const std::string& id : listing.ids) {
    if (!std::ranges::binary_search(used, id)) {
      garbage.bytes += corpus.artefacts().size_bytes(id).value_or(0);
      ++garbage.files;
      corpus.artefacts().remove(id);
    }
  }
  for (const auto& path : listing.unexpected) {
    if (is_left_by_a_writer(path)) {
      const auto info = corpus.fs().stat(path);
      garbage.bytes += info ? info->size_bytes : 0;
      ++garbage.files;
      corpus.fs().remove(path);
    }
  }
  // What was computed of documents that are gone must not stay on the disk.
  Shelf shelf = shelf_of(corpus);
  const std::vector<int64_t> living = document_numbers(corpus.db());
  for (const Shelf::Entry& e : shelf.entries()) {
    if (!belongs(e, living)) {
      garbage.bytes += e.bytes;
      ++garbage.files;
      shelf.remove(e);
    }
  }
  return garbage;
}

}  // namespace offbook::store
