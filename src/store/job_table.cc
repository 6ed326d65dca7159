#include "src/store/job_table.h"

#include <set>

namespace offbook::store {
namespace {

constexpr const char* kColumns =
    "SELECT stage, unit, input, state, detail, artefact, attempts FROM jobs ";

JobRecord read_row(const Query& q) {
  return {.stage = q.string(0),
          .unit = q.string(1),
          .input = q.string(2),
          .state = static_cast<JobState>(q.integer(3)),
          .detail = q.string(4),
          .artefact = q.string(5),
          .attempts = static_cast<int>(q.integer(6))};
}

}  // namespace

void JobTable::plan(const std::string& stage, const std::vector<WorkUnit>& units) {
  Transaction transaction(db_);
  std::set<std::string> wanted;
  for (const WorkUnit& unit : units) {
    wanted.insert(unit.unit);
    db_.run(
        "INSERT INTO jobs(stage, unit, input, state, detail, attempts, updated_ns) "
        "VALUES(?1, ?2, ?3, 0, '', 0, ?4) ON CONFLICT(stage, unit) DO UPDATE SET "
        "input = excluded.input, state = 0, detail = '', updated_ns = excluded.updated_ns, "
        "attempts = CASE WHEN input = excluded.input THEN attempts ELSE 0 END, "
        "artefact = CASE WHEN input = excluded.input THEN artefact END "
        "WHERE input <> excluded.input OR state = 3",
        stage, unit.unit, unit.input, clock_());
  }
  for (const JobRecord& record : list(stage)) {
    if (!wanted.contains(record.unit)) {
      db_.run("DELETE FROM jobs WHERE stage = ?1 AND unit = ?2", stage, record.unit);
    }
  }
  transaction.commit();
}

std::optional<JobRecord> JobTable::claim(const std::string& stage) {
  Transaction transaction(db_);
  std::optional<JobRecord> record;
  {
    Query q = db_.query(
        std::string(kColumns) + "WHERE stage = ?1 AND state = 0 ORDER BY unit LIMIT 1", stage);
    if (q.step()) {
      record = read_row(q);
    }
  }
  if (record) {
    db_.run(
        "UPDATE jobs SET state = 1, attempts = attempts + 1, updated_ns = ?3 "
        "WHERE stage = ?1 AND unit = ?2",
        stage, record->unit, clock_());
    record->state = JobState::running;
    ++record->attempts;
  }
  transaction.commit();
  return record;
}

void JobTable::set_state(const std::string& stage, const std::string& unit, JobState state,
                         const std::string& detail) {
  // A state to go on from is of no use once the unit is done.
  const int64_t changed = db_.run(
      "UPDATE jobs SET state = ?3, detail = ?4, updated_ns = ?5, "
      "artefact = CASE WHEN ?3 = 2 THEN NULL ELSE artefact END WHERE stage = ?1 AND unit = ?2",
      stage, unit, static_cast<int>(state), detail, clock_());
  OB_REQUIRE(changed == 1, NotFound, "stage {} has no unit '{}'", stage, unit);
}

void JobTable::complete(const std::string& stage, const std::string& unit,
                        const std::string& detail) {
  set_state(stage, unit, JobState::done, detail);
}

void JobTable::fail(const std::string& stage, const std::string& unit, const std::string& reason) {
  set_state(stage, unit, JobState::failed, reason);
}

void JobTable::reset(const std::string& stage, const std::string& unit) {
  set_state(stage, unit, JobState::pending, "");
}

void JobTable::save_state(const std::string& stage, const std::string& unit,
                          const Artefact& state) {
  const std::string id = artefacts_.put(state);
  const int64_t changed =
      db_.run("UPDATE jobs SET artefact = ?3, updated_ns = ?4 WHERE stage = ?1 AND unit = ?2",
              stage, unit, id, clock_());
  OB_REQUIRE(changed == 1, NotFound, "stage {} has no unit '{}'", stage, unit);
}

std::optional<Artefact> JobTable::load_state(const std::string& stage, const std::string& unit) {
  const auto record = find(stage, unit);
  if (!record || record->artefact.empty()) {
    return std::nullopt;
  }
  return artefacts_.get(record->artefact, ArtefactKind::job_state);
}

std::optional<JobRecord> JobTable::find(const std::string& stage, const std::string& unit) {
  Query q = db_.query(std::string(kColumns) + "WHERE stage = ?1 AND unit = ?2", stage, unit);
  return q.step() ? std::optional(read_row(q)) : std::nullopt;
}

std::vector<JobRecord> JobTable::list(const std::string& stage) {
  std::vector<JobRecord> records;
  Query q = db_.query(std::string(kColumns) + "WHERE stage = ?1 ORDER BY unit", stage);
  while (q.step()) {
    records.push_back(read_row(q));
  }
  return records;
}

JobCounts JobTable::counts(const std::string& stage) {
  JobCounts counts;
  int64_t* const slots[] = {&counts.pending, &counts.running, &counts.done, &counts.failed};
  Query q = db_.query("SELECT state, count(*) FROM jobs WHERE stage = ?1 GROUP BY state", stage);
  while (q.step()) {
    const int64_t state = q.integer(0);
    OB_REQUIRE(0 <= state && state < 4, Corrupt, "stage {}: a unit has state {}", stage, state);
    *slots[state] = q.integer(1);
  }
  return counts;
}

void JobTable::release_running() {
  db_.run("UPDATE jobs SET state = 0 WHERE state = 1");
}

}  // namespace offbook::store
