#include "src/base/file_system.h"

#include <unistd.h>

#include "src/base/error.h"

namespace offbook {
namespace {

class FileSystemTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/offbook_fs_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  FileSystem& fs_ = real_file_system();
  std::filesystem::path dir_;
};

TEST_F(FileSystemTest, WritesAtomicallyAndMapsBack) {
  const std::string text = "hello";
  write_file_atomically(fs_, dir_ / "a", std::as_bytes(std::span(text)));
  const auto file = fs_.open(dir_ / "a");
  ASSERT_EQ(file->bytes().size(), 5u);
  EXPECT_EQ(std::memcmp(file->bytes().data(), "hello", 5), 0);
  EXPECT_EQ(fs_.list(dir_), std::vector<std::string>{"a"});
}

TEST_F(FileSystemTest, EmptyFileHasNoBytes) {
  write_file_atomically(fs_, dir_ / "empty", {});
  EXPECT_TRUE(fs_.open(dir_ / "empty")->bytes().empty());
}

TEST_F(FileSystemTest, MissingFileIsNotFoundAndNamesThePath) {
  EXPECT_FALSE(fs_.stat(dir_ / "none").has_value());
  try {
    fs_.open(dir_ / "none");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::NotFound);
    EXPECT_THAT(e.what(), testing::HasSubstr((dir_ / "none").string()));
  }
}

TEST_F(FileSystemTest, DirectoriesAreMadePrivate) {
  fs_.create_directories(dir_ / "x" / "y");
  const auto perms = std::filesystem::status(dir_ / "x" / "y").permissions();
  EXPECT_EQ(perms & std::filesystem::perms::others_all, std::filesystem::perms::none);
}

TEST_F(FileSystemTest, LockIsHeldOnceAndSaysByWhom) {
  auto first = fs_.try_lock(dir_ / "lock", "process 12");
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(fs_.try_lock(dir_ / "lock", "process 13"), nullptr);
  EXPECT_EQ(fs_.open(dir_ / "lock")->bytes().size(), 10u);
  first.reset();
  EXPECT_NE(fs_.try_lock(dir_ / "lock", "process 13"), nullptr);
}

TEST_F(FileSystemTest, FailedAtomicWriteLeavesNothingBeside) {
  fs_.create_directories(dir_ / "taken" / "inside");
  EXPECT_THROW(write_file_atomically(fs_, dir_ / "taken", {}), Error);
  EXPECT_EQ(fs_.list(dir_), std::vector<std::string>{"taken"});
}

}  // namespace
}  // namespace offbook
