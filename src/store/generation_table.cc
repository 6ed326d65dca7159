#include "src/store/generation_table.h"

namespace offbook::store {

int64_t GenerationTable::begin(const nlohmann::json& settings) {
  Transaction transaction(db_);
  const auto open = db_.integer("SELECT number FROM generations WHERE state = 0");
  if (open) {
    db_.run("UPDATE generations SET settings = ?2 WHERE number = ?1", *open, settings.dump());
    transaction.commit();
    return *open;
  }
  db_.run(
      "INSERT INTO generations(state, adapter, settings, note, created_ns) VALUES(0, "
      "(SELECT adapter FROM generations WHERE state = 1), ?1, '', ?2)",
      settings.dump(), clock_());
  const int64_t number = db_.last_row_id();
  db_.run(
      "INSERT INTO generation_documents(generation, document) SELECT ?1, document "
      "FROM generation_documents WHERE generation = (SELECT number FROM generations WHERE state = "
      "1)",
      number);
  db_.run(
      "INSERT INTO group_adapters(generation, name, adapter, note) SELECT ?1, name, adapter, note "
      "FROM group_adapters WHERE generation = (SELECT number FROM generations WHERE state = 1)",
      number);
  transaction.commit();
  return number;
}

void GenerationTable::set_group_adapter(int64_t number, const std::string& group,
                                        const std::string& adapter_id, const std::string& note) {
  if (adapter_id.empty()) {
    db_.run("DELETE FROM group_adapters WHERE generation = ?1 AND name = ?2", number, group);
    return;
  }
  db_.run(
      "INSERT INTO group_adapters(generation, name, adapter, note) VALUES(?1, ?2, ?3, ?4) "
      "ON CONFLICT(generation, name) DO UPDATE SET adapter = ?3, note = ?4",
      number, group, adapter_id, note);
}

std::vector<GroupAdapter> GenerationTable::group_adapters(int64_t number) {
  std::vector<GroupAdapter> list;
  Query q = db_.query(
      "SELECT g.name, g.adapter, a.is_stale, g.note FROM group_adapters g JOIN adapters a "
      "ON a.id = g.adapter WHERE g.generation = ?1 ORDER BY g.name",
      number);
  while (q.step()) {
    list.push_back({.group = q.string(0),
                    .adapter = q.string(1),
                    .is_stale = q.integer(2) != 0,
                    .note = q.string(3)});
  }
  return list;
}

void GenerationTable::set_adapter(int64_t number, const std::string& adapter_id) {
  db_.run("UPDATE generations SET adapter = nullif(?2, '') WHERE number = ?1", number, adapter_id);
}

void GenerationTable::activate(int64_t number) {
  Transaction transaction(db_);
  db_.run("UPDATE generations SET state = 2 WHERE state = 1");
  const int64_t changed =
      db_.run("UPDATE generations SET state = 1, activated_ns = ?2 WHERE number = ?1 AND state = 0",
              number, clock_());
  OB_REQUIRE(changed == 1, InvalidArgument, "generation {} is not being built", number);
  transaction.commit();
}

void GenerationTable::mark_failed(int64_t number, const std::string& note) {
  const int64_t changed = db_.run(
      "UPDATE generations SET state = 3, note = ?2 WHERE number = ?1 AND state = 0", number, note);
  OB_REQUIRE(changed == 1, InvalidArgument, "generation {} is not being built", number);
}

int64_t GenerationTable::rollback() {
  Transaction transaction(db_);
  const auto active = db_.integer("SELECT number FROM generations WHERE state = 1");
  const auto before = db_.integer(
      "SELECT max(number) FROM generations WHERE state = 2 AND number < ?1", active.value_or(0));
  OB_REQUIRE(before, InvalidArgument, "there is no older generation to go back to");
  // Not "old": going back twice must go further back, and a later `learn` starts from what answers.
  db_.run("UPDATE generations SET state = 3, note = 'rolled back' WHERE number = ?1", *active);
  db_.run("UPDATE generations SET state = 1, activated_ns = ?2 WHERE number = ?1", *before,
          clock_());
  transaction.commit();
  return *before;
}

std::vector<Generation> GenerationTable::select(const std::string& where) {
  std::vector<Generation> generations;
  Query q = db_.query(
      "SELECT g.number, g.state, g.adapter, a.is_stale, g.settings, g.note, g.created_ns, "
      "(SELECT count(*) FROM generation_documents d WHERE d.generation = g.number) "
      "FROM generations g LEFT JOIN adapters a ON a.id = g.adapter WHERE " +
      where + " ORDER BY g.number");
  while (q.step()) {
    generations.push_back({.number = q.integer(0),
                           .state = static_cast<GenerationState>(q.integer(1)),
                           .adapter = q.string(2),
                           .is_adapter_stale = q.integer(3) != 0,
                           .settings = nlohmann::json::parse(q.text(4), nullptr, false),
                           .note = q.string(5),
                           .created_ns = q.integer(6),
                           .document_count = q.integer(7)});
    OB_REQUIRE(!generations.back().settings.is_discarded(), Corrupt,
               "generation {}: settings are no JSON", generations.back().number);
  }
  return generations;
}

std::optional<Generation> GenerationTable::active() {
  auto found = select("g.state = 1");
  return found.empty() ? std::nullopt : std::optional(std::move(found.front()));
}

std::optional<Generation> GenerationTable::building() {
  auto found = select("g.state = 0");
  return found.empty() ? std::nullopt : std::optional(std::move(found.front()));
}

std::vector<Generation> GenerationTable::list() {
  return select("true");
}

int64_t GenerationTable::require_active() {
  const auto number = db_.integer("SELECT number FROM generations WHERE state = 1");
  OB_REQUIRE(number, NotFound,
             "{}: nothing has been learned yet (or the first `offbook learn` did not finish; run "
             "it again)",
             db_.path());
  return *number;
}

void GenerationTable::put_fidelity(int64_t number, const Fidelity& f) {
  db_.run(
      "INSERT INTO fidelity(generation, document, method, score, lower, upper, questions, "
      "use_slots) "
      "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT(generation, document, method) DO UPDATE "
      "SET score = ?4, lower = ?5, upper = ?6, questions = ?7, use_slots = ?8",
      number, f.document, f.method, f.score, f.lower, f.upper, f.questions, f.use_slots);
}

std::vector<Fidelity> GenerationTable::fidelity(int64_t number) {
  std::vector<Fidelity> list;
  Query q = db_.query(
      "SELECT document, method, score, lower, upper, questions, use_slots FROM fidelity "
      "WHERE generation = ?1 ORDER BY document, method",
      number);
  while (q.step()) {
    list.push_back({.document = q.integer(0),
                    .method = q.string(1),
                    .score = q.real(2),
                    .lower = q.real(3),
                    .upper = q.real(4),
                    .questions = static_cast<int>(q.integer(5)),
                    .use_slots = q.integer(6) != 0});
  }
  return list;
}

void GenerationTable::put_ratio(int64_t number, const ChosenRatio& r) {
  db_.run(
      "INSERT INTO ratios(generation, document, method, ratio, score, probes) "
      "VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(generation, document, method) DO UPDATE "
      "SET ratio = ?4, score = ?5, probes = ?6",
      number, r.document, r.method, r.ratio, r.score, r.probes);
}

std::vector<ChosenRatio> GenerationTable::ratios(int64_t number) {
  std::vector<ChosenRatio> list;
  Query q = db_.query(
      "SELECT document, method, ratio, score, probes FROM ratios WHERE generation = ?1 "
      "ORDER BY document, method",
      number);
  while (q.step()) {
    list.push_back({.document = q.integer(0),
                    .method = q.string(1),
                    .ratio = q.real(2),
                    .score = q.real(3),
                    .probes = static_cast<int>(q.integer(4))});
  }
  return list;
}

}  // namespace offbook::store
