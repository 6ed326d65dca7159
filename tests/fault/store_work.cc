#include "tests/fault/store_work.h"

#include "tests/fault/sqlite_vfs.h"

#include <random>
#include <sstream>

#include "src/store/check.h"
#include "src/store/dump.h"
#include "src/store/store_testing.h"

namespace offbook::store {
namespace {

std::string unit_name(int i) {
  return fmt::format("doc{:02}", i);
}

}  // namespace

void work(Corpus& corpus, int units_a_commit, const std::function<void(int64_t)>& report) {
  const int64_t generation = corpus.generations().begin({});
  std::vector<WorkUnit> units;
  for (int i = 0; i < kDocuments; ++i) {
    units.push_back({unit_name(i), "1"});
  }
  corpus.jobs().plan(kStageIngest, units);
  Batch batch(corpus, {.max_seconds = 10, .max_units = units_a_commit});
  while (const auto unit = corpus.jobs().claim(kStageIngest)) {
    {
      Transaction whole(corpus.db());
      const int64_t number =
          put_document(corpus, generation, unit->unit, {"words of " + unit->unit, "and plums"});
      corpus.vectors().put(number, make_vectors(number, 2));
      const Segment segment = make_segment(corpus.documents().load(number));
      corpus.contexts().put_segments(number, {segment});
      CompressedContext context = make_text_context(segment);
      context.text = unit->unit;
      corpus.contexts().put(number, segment, context, KvPrecision::as_made);
      corpus.jobs().complete(kStageIngest, unit->unit);
      whole.commit();
    }
    batch.unit_done();
    report(batch.durable_units());
  }
  batch.commit();
}

std::string dump_of(Corpus& corpus) {
  std::ostringstream out;
  dump(corpus, out);
  return out.str();
}

std::string damage_of(Corpus& corpus) {
  std::string text;
  for (const Finding& finding : check(corpus, false).findings) {
    text += finding.is_damage ? finding.what + "\n" : "";
  }
  return text;
}

std::string undisturbed() {
  TemporaryDirectory dir;
  Corpus corpus = Corpus::create(dir.path() / "c", {});
  work(corpus, 3, [](int64_t) {});
  return dump_of(corpus);
}

std::string power_cut_failure(uint64_t seed, const std::string& expected_dump, bool sync_lies) {
  std::mt19937_64 random(seed);
  MemoryFileSystem fs;
  MemoryVfs vfs(fs);
  const CorpusOptions options{.access = Access::write, .fs = &fs, .vfs = vfs.name()};
  int64_t done = 0;
  try {
    for (int cut = 0; cut < 2; ++cut) {
      fs.set_faults({.fail_at = fs.operations() + random() % 900,
                     .fail_ever_after = true,
                     .sync_lies = sync_lies});
      try {
        Corpus corpus = Corpus::create("/c", options);
        const int64_t before = corpus.jobs().counts(kStageIngest).done;
        if (before < done) {
          return fmt::format("{} units were reported done, {} are there", done, before);
        }
        work(corpus, 3, [&](int64_t durable) { done = std::max(done, before + durable); });
      } catch (const Error& e) {
        if (e.code() != ErrorCode::Io) {
          return fmt::format("after a cut: {}", e.what());
        }
      }
      fs.power_cut(random());
    }
    Corpus corpus = Corpus::create("/c", options);
    const int64_t there = corpus.jobs().counts(kStageIngest).done;
    if (there < done) {
      return fmt::format("{} units were reported done, {} are there", done, there);
    }
    if (const std::string damage = damage_of(corpus); !damage.empty()) {
      return damage;
    }
    work(corpus, 3, [](int64_t) {});
    return dump_of(corpus) == expected_dump ? "" : "the finished corpus differs";
  } catch (const Error& e) {
    return fmt::format("the corpus does not open: {}", e.what());
  }
}

}  // namespace offbook::store
