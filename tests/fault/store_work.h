// The work of a learn run in small, and what a power cut may not do to it; for the tests of this
// folder and bench/bars/power_cuts.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "src/store/corpus.h"

namespace offbook::store {

inline constexpr int kDocuments = 24;

// Each unit stores a document, its vectors and a context. `report` is told how many units are
// durable. Goes on where the corpus stands.
void work(Corpus& corpus, int units_a_commit, const std::function<void(int64_t)>& report);

std::string dump_of(Corpus& corpus);
std::string damage_of(Corpus& corpus);  // one line a finding; empty when sound
std::string undisturbed();  // the dump of a run on the real file system, in a new folder

// A run on a file system that drops or reorders what was not synced, cut twice at operations that
// `seed` draws, then finished. What is wrong with the outcome; empty when nothing is. With
// `sync_lies` the disk forgets synced bytes too, which no store survives.
std::string power_cut_failure(uint64_t seed, const std::string& expected_dump, bool sync_lies);

}  // namespace offbook::store
