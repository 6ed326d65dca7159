// Finds and names damage in a corpus, repairs what can be made again, removes garbage.
#pragma once
#include <string>
#include <vector>

#include "src/store/corpus.h"

namespace offbook::store {

// Stages whose units check() puts back to pending. A unit is called by its document's id, or
// "<document id>/<anything>".
inline constexpr const char* kStageIngest = "ingest";
inline constexpr const char* kStageIndex = "index";
inline constexpr const char* kStageCompress = "compress";
inline constexpr const char* kStageTrain = "train";

struct Finding {
  std::string what;  // one sentence that names the thing
  bool is_damage;    // false: garbage, such as a file left by a killed process
  bool is_repaired;  // the corpus is sound without it; what is lost will be made again
};

struct CheckReport {
  std::vector<Finding> findings;
  int64_t documents = 0, passages = 0, artefacts = 0;  // looked at
  int64_t shelf_entries = 0;                           // what `ask` keeps of passages
  uint64_t shelf_bytes = 0;
  // True when no damage is left.
  bool is_sound() const;
};

// Looks at all of it: the database's pages and foreign keys, every artefact's checksum, every
// document's text against its hash, every passage's span, the full-text index against the texts,
// every entry of the shelf (a damaged one is garbage: it is only a cache). With `repair` (needs
// write access and no Batch) damaged artefacts and documents are dropped and their units made
// pending again, the full-text index is rebuilt, garbage removed. What only SQLite's own pages
// could tell is reported, never repaired. Cost: reads everything once.
CheckReport check(Corpus& corpus, bool repair);

struct Garbage {
  int64_t files = 0;
  uint64_t bytes = 0;
};

// Removes artefact files that no row names and files left by dead writers. Needs write access and
// no open transaction (InvalidArgument).
Garbage collect_garbage(Corpus& corpus);

// Ids of all artefacts that a row names, sorted, once each.
std::vector<std::string> referenced_artefacts(Database& db);

}  // namespace offbook::store
