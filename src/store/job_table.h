// Stages in units of work, so that every stage goes on where it stopped.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "src/store/artefact.h"
#include "src/store/document_table.h"
#include "src/store/sqlite.h"

namespace offbook::store {

// Written into the database: never renumber.
enum class JobState : uint8_t { pending = 0, running = 1, done = 2, failed = 3 };

struct WorkUnit {
  std::string unit;   // unique in its stage, e.g. a document's id
  std::string input;  // hash of all the result depends on; another input makes a done unit pending
};

struct JobRecord {
  std::string stage, unit, input;
  JobState state = JobState::pending;
  std::string detail;    // what the stage wants to remember; for failed ones the reason
  std::string artefact;  // job state to go on from; empty for none
  int attempts = 0;
};

struct JobCounts {
  int64_t pending = 0, running = 0, done = 0, failed = 0;
};

// Views of the corpus's connection; must not outlive the corpus. A unit's results and complete()
// belong into one Transaction.
class JobTable {
 public:
  JobTable(Database& db, ArtefactStore& artefacts, Clock clock)
      : db_(db), artefacts_(artefacts), clock_(std::move(clock)) {}

  // What the stage is to do now: new units and those with another input become pending, units not
  // listed are forgotten, done ones stay done, failed ones are tried again.
  void plan(const std::string& stage, const std::vector<WorkUnit>& units);
  // The next pending unit in order of name, now running; absent when none is left.
  std::optional<JobRecord> claim(const std::string& stage);
  void complete(const std::string& stage, const std::string& unit, const std::string& detail = "");
  void fail(const std::string& stage, const std::string& unit, const std::string& reason);
  void reset(const std::string& stage, const std::string& unit);  // to pending
  // Keeps a state to go on from after a stop, in place of the last one.
  void save_state(const std::string& stage, const std::string& unit, const Artefact& state);
  std::optional<Artefact> load_state(const std::string& stage, const std::string& unit);

  std::optional<JobRecord> find(const std::string& stage, const std::string& unit);
  std::vector<JobRecord> list(const std::string& stage);  // by unit
  JobCounts counts(const std::string& stage);
  // Units a dead process was working on become pending; Corpus::open does it.
  void release_running();

 private:
  void set_state(const std::string& stage, const std::string& unit, JobState state,
                 const std::string& detail);

  Database& db_;
  ArtefactStore& artefacts_;
  Clock clock_;
};

}  // namespace offbook::store
