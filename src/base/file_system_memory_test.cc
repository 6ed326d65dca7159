#include "src/base/file_system_memory.h"

#include "src/base/error.h"

namespace offbook {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string content(FileSystem& fs, const std::string& path) {
  const auto file = fs.open(path);
  return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

class MemoryFileSystemTest : public testing::Test {
 protected:
  void SetUp() override { fs_.create_directories("/d"); }
  MemoryFileSystem fs_;
};

TEST_F(MemoryFileSystemTest, KeepsWhatWasSyncedThroughEveryCut) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    write_file_atomically(fs_, "/d/a", bytes_of("kept"));
    fs_.power_cut(seed);
    EXPECT_EQ(content(fs_, "/d/a"), "kept") << "seed " << seed;
  }
}

TEST_F(MemoryFileSystemTest, LosesUnsyncedNamesAndBytesForSomeSeeds) {
  int without_name = 0, with_other_bytes = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    MemoryFileSystem fs;
    fs.create("/a")->append(bytes_of("volatile"));
    fs.power_cut(seed);
    if (!fs.stat("/a")) {
      ++without_name;
    } else {
      with_other_bytes += content(fs, "/a") != "volatile";
    }
  }
  EXPECT_GT(without_name, 5);
  EXPECT_GT(with_other_bytes, 5);
}

TEST_F(MemoryFileSystemTest, CutKeepsOldOrNewContentOfAnAtomicWrite) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    MemoryFileSystem fs;
    write_file_atomically(fs, "/a", bytes_of("old"));
    fs.set_faults({.fail_at = fs.operations() + seed % 6, .fail_ever_after = true});
    try {
      write_file_atomically(fs, "/a", bytes_of("newer"));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::Io);
    }
    fs.power_cut(seed);
    EXPECT_THAT(content(fs, "/a"), testing::AnyOf("old", "newer")) << "seed " << seed;
  }
}

TEST_F(MemoryFileSystemTest, TearsLongWritesIntoSectors) {
  int torn = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    MemoryFileSystem fs;
    write_file_atomically(fs, "/a", bytes_of(std::string(4096, 'o')));
    fs.open_random("/a", false)->write_at(0, bytes_of(std::string(4096, 'n')));
    fs.power_cut(seed);
    const std::string after = content(fs, "/a");
    torn += after.find('o') != std::string::npos && after.find('n') != std::string::npos;
  }
  EXPECT_GT(torn, 10);
}

TEST_F(MemoryFileSystemTest, FullDiskTakesWhatFitsThenRefuses) {
  fs_.set_faults({.capacity_bytes = 3});
  auto file = fs_.create("/d/a");
  try {
    file->append(bytes_of("12345"));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::Io);
    EXPECT_THAT(e.what(), testing::HasSubstr("No space left"));
  }
  EXPECT_EQ(content(fs_, "/d/a"), "123");
  EXPECT_EQ(fs_.free_bytes("/d"), 0u);
}

TEST_F(MemoryFileSystemTest, FailsTheAskedOperationOnly) {
  fs_.set_faults({.fail_at = fs_.operations() + 1});
  auto file = fs_.create("/d/a");
  EXPECT_THROW(file->append(bytes_of("x")), Error);
  EXPECT_NO_THROW(file->append(bytes_of("x")));
}

TEST_F(MemoryFileSystemTest, ReadOnlyRefusesEveryChange) {
  fs_.set_faults({.read_only = true});
  EXPECT_THROW(fs_.create("/d/a"), Error);
  EXPECT_THROW(fs_.create_directories("/e"), Error);
  EXPECT_THROW(fs_.sync_directory("/d"), Error);
}

TEST_F(MemoryFileSystemTest, HandlesAndLocksDieWithThePower) {
  auto file = fs_.create("/d/a");
  auto held = fs_.try_lock("/d/lock", "me");
  EXPECT_EQ(fs_.try_lock("/d/lock", "you"), nullptr);
  fs_.power_cut(1);
  EXPECT_THROW(file->append(bytes_of("x")), Error);
  EXPECT_NE(fs_.try_lock("/d/lock", "you"), nullptr);
}

TEST_F(MemoryFileSystemTest, ListsNamesOfOneDirectory) {
  fs_.create_directories("/d/sub/deep");
  fs_.create("/d/b");
  EXPECT_EQ(fs_.list("/d"), (std::vector<std::string>{"b", "sub"}));
  EXPECT_THROW(fs_.list("/none"), Error);
}

}  // namespace
}  // namespace offbook
