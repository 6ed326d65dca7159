// A corpus through kills, power cuts, full disks and media that cannot be written.
#include "tests/fault/sqlite_vfs.h"
#include "tests/fault/store_work.h"

#include <random>

#include <signal.h>
#include <sys/wait.h>

#include "src/store/check.h"
#include "src/store/store_testing.h"

namespace offbook::store {
namespace {

using ::testing::HasSubstr;

// Runs work() in a child and kills it after some time; returns how many units it had reported done.
int64_t run_and_kill(const std::filesystem::path& directory, int after_us) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    try {
      Corpus corpus = Corpus::create(directory, {});
      const int64_t before = corpus.jobs().counts(kStageIngest).done;
      work(corpus, 3, [&](int64_t durable) {
        const int64_t total = before + durable;
        if (::write(ends[1], &total, sizeof(total)) < 0) {
          ::_exit(2);
        }
      });
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  ::usleep(static_cast<useconds_t>(after_us));
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  int64_t reported = 0, last = 0;
  while (::read(ends[0], &reported, sizeof(reported)) == sizeof(reported)) {
    last = reported;
  }
  ::close(ends[0]);
  return last;
}

TEST(StoreKill, NothingReportedIsMissingAndTheEndIsTheSame) {
  const std::string expected = undisturbed();
  TemporaryDirectory dir;
  const auto path = dir.path() / "c";
  std::mt19937 random(11);
  int64_t most = 0;
  for (int kill = 0; kill < 12; ++kill) {
    const int64_t reported = run_and_kill(path, static_cast<int>(5'000 + random() % 90'000));
    most = std::max(most, reported);
    if (!Corpus::is_corpus(real_file_system(), path)) {
      continue;  // killed before it was made
    }
    Corpus corpus = Corpus::open(path, {.access = Access::write});
    EXPECT_GE(corpus.jobs().counts(kStageIngest).done, most) << "kill " << kill;
    EXPECT_EQ(damage_of(corpus), "") << "kill " << kill;
  }
  Corpus corpus = Corpus::create(path, {});
  work(corpus, 3, [](int64_t) {});
  EXPECT_EQ(dump_of(corpus), expected);
  collect_garbage(corpus);
  EXPECT_TRUE(check(corpus, false).findings.empty());
}

class PowerCut : public ::testing::TestWithParam<int> {};

// 200 seeds in ten programs' worth of tests; each cuts a run at a random operation, then again.
TEST_P(PowerCut, NothingReportedIsMissingAndTheEndIsTheSame) {
  static const std::string expected = undisturbed();
  for (int i = 0; i < 20; ++i) {
    const auto seed = static_cast<uint64_t>(GetParam() * 20 + i);
    EXPECT_EQ(power_cut_failure(seed, expected, false), "") << "seed " << seed;
  }
}

TEST(PowerCutOnALyingDisk, IsNoticed) {
  const std::string expected = undisturbed();
  int failures = 0;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    failures += !power_cut_failure(seed, expected, true).empty();
  }
  EXPECT_GT(failures, 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PowerCut, ::testing::Range(0, 10));

TEST(StoreDisk, FullDiskIsNamedAndTheCorpusOpensAndGoesOn) {
  for (uint64_t room = 10'000; room < 900'000; room += 60'000) {
    SCOPED_TRACE(room);
    MemoryFileSystem fs;
    MemoryVfs vfs(fs);
    const CorpusOptions options{.access = Access::write, .fs = &fs, .vfs = vfs.name()};
    fs.set_faults({.capacity_bytes = room});
    try {
      Corpus corpus = Corpus::create("/c", options);
      work(corpus, 3, [](int64_t) {});
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::Io);
      EXPECT_THAT(e.what(), ::testing::AnyOf(HasSubstr("full"), HasSubstr("No space left"),
                                             HasSubstr("the transaction was lost")));
    }
    fs.set_faults({});
    Corpus corpus = Corpus::create("/c", options);
    EXPECT_EQ(damage_of(corpus), "");
    work(corpus, 3, [](int64_t) {});
    EXPECT_EQ(corpus.jobs().counts(kStageIngest).done, kDocuments);
  }
}

TEST(StoreDisk, ReadOnlyMediumIsNamed) {
  MemoryFileSystem fs;
  MemoryVfs vfs(fs);
  const CorpusOptions options{.access = Access::write, .fs = &fs, .vfs = vfs.name()};
  { Corpus::create("/c", options); }
  fs.set_faults({.read_only = true});
  const auto [code, text] = error_of([&] { Corpus::open("/c", options); });
  EXPECT_EQ(code, ErrorCode::Io);
  EXPECT_THAT(text, HasSubstr("/c"));
  EXPECT_THAT(text, HasSubstr("Read-only"));
}

}  // namespace
}  // namespace offbook::store
