#include "src/ingest/folder.h"

#include <atomic>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "src/ingest/content_hash.h"
#include "src/ingest/test_files.h"

namespace offbook::ingest {
namespace {

namespace stdfs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class FolderTest : public testing::Test {
 protected:
  FolderTest()
      : root_(stdfs::path(testing::TempDir()) /
              fmt::format("offbook_folder_{}",
                          testing::UnitTest::GetInstance()->current_test_info()->name())) {
    stdfs::remove_all(root_);
    stdfs::create_directories(root_ / "docs");
  }
  ~FolderTest() override { stdfs::remove_all(root_); }

  stdfs::path docs() const { return root_ / "docs"; }
  void write(const std::string& path, std::string_view content) const {
    const stdfs::path full = docs() / path;
    stdfs::create_directories(full.parent_path());
    std::ofstream(full, std::ios::binary) << content;
  }
  std::vector<std::string> listed(const FolderOptions& options = {}) const {
    return paths(list_folder(docs(), options).files);
  }
  template <class File>
  static std::vector<std::string> paths(const std::vector<File>& files) {
    std::vector<std::string> out;
    for (const auto& file : files) {
      out.push_back(file.path);
    }
    return out;
  }

  stdfs::path root_;
};

TEST_F(FolderTest, ListsInOrderWithoutHiddenAndIgnored) {
  for (const char* path : {"b.txt", "a/z.md", "a-b.txt", ".secret.txt", ".git/x.txt", "a/tmp/n.txt",
                           "a/note.tmp.txt", "pic.png"}) {
    write(path, "x");
  }
  EXPECT_THAT(listed(), ElementsAre("a-b.txt", "a/note.tmp.txt", "a/tmp/n.txt", "a/z.md", "b.txt"));
  EXPECT_THAT(listed({.ignore = {"tmp", "*.tmp.txt", "/b.txt"}}), ElementsAre("a-b.txt", "a/z.md"));
  EXPECT_THAT(paths(list_folder(docs(), {}).skipped), ElementsAre("pic.png"));
  EXPECT_EQ(listed({.include_hidden = true}).size(), 7u);
}

TEST_F(FolderTest, GlobsMatchAsInGitignore) {
  EXPECT_TRUE(matches_glob("*.txt", "a/b.txt"));
  EXPECT_TRUE(matches_glob("a/*.txt", "a/b.txt"));
  EXPECT_FALSE(matches_glob("a/*.txt", "a/c/b.txt"));
  EXPECT_TRUE(matches_glob("a/**/b.txt", "a/b.txt"));
  EXPECT_TRUE(matches_glob("a/**", "a/c/b.txt"));
  EXPECT_TRUE(matches_glob("build/", "x/build/y"));
  EXPECT_FALSE(matches_glob("b?", "b"));
}

TEST_F(FolderTest, LinksStayInsideTheFolder) {
  write("a.txt", "x");
  write(".v/2.txt", "x");
  std::ofstream(root_ / "outside.txt") << "x";
  stdfs::create_symlink(docs() / ".v/2.txt", docs() / "current.txt");
  stdfs::create_symlink(docs() / "a.txt", docs() / "again.txt");
  stdfs::create_symlink(root_ / "outside.txt", docs() / "out.txt");
  stdfs::create_symlink("..", docs() / "up");
  stdfs::create_symlink("nowhere", docs() / "broken.txt");
  const FolderListing listing = list_folder(docs(), {});
  EXPECT_THAT(paths(listing.files), ElementsAre("a.txt", "current.txt"));
  EXPECT_THAT(paths(listing.skipped), ElementsAre("broken.txt", "out.txt", "up"));
  EXPECT_THAT(listing.skipped[1].message, HasSubstr("out of the folder"));
}

TEST_F(FolderTest, PipesAreReportedAndMissingRootsThrow) {
  ASSERT_EQ(mkfifo((docs() / "pipe.txt").c_str(), 0600), 0);
  EXPECT_THAT(list_folder(docs(), {}).skipped.at(0).message, HasSubstr("no regular file"));
  try {
    list_folder(root_ / "none", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::NotFound);
    EXPECT_THAT(error.what(), HasSubstr("none"));
  }
}

TEST_F(FolderTest, ComparesWithWhatIsKnown) {
  for (const char* path : {"new.txt", "same.txt", "touched.txt", "edited.txt"}) {
    write(path, "12345");
  }
  const auto known_file = [&](const std::string& path, const char* content, bool same_time) {
    for (const FoundFile& file : list_folder(docs(), {}).files) {
      if (file.path == path) {
        return KnownFile{path, 5, same_time ? file.modified_ns : 1, hash_text(content)};
      }
    }
    return KnownFile{path, 5, 1, hash_text(content)};
  };
  const FolderChanges changes = compare_folder(
      docs(), list_folder(docs(), {}).files,
      {known_file("same.txt", "other", true), known_file("touched.txt", "12345", false),
       known_file("edited.txt", "54321", false), known_file("gone.txt", "12345", false)});
  EXPECT_THAT(paths(changes.added), ElementsAre("new.txt"));
  EXPECT_THAT(paths(changes.changed), ElementsAre("edited.txt"));
  EXPECT_THAT(paths(changes.unchanged), ElementsAre("same.txt", "touched.txt"));
  EXPECT_THAT(paths(changes.removed), ElementsAre("gone.txt"));
}

TEST_F(FolderTest, ReadsInOrderAndReportsBadFiles) {
  for (int i = 0; i < 60; ++i) {
    write(fmt::format("{:02}.txt", i),
          i % 10 == 3 ? std::string(10, '\0') : fmt::format("n {}", i));
  }
  const auto files = list_folder(docs(), {}).files;
  for (const int threads : {1, 4}) {
    ReadFilesOptions options{.threads = threads, .max_bytes_in_flight = 20};
    size_t progress = 0;
    options.on_progress = [&](const Progress& p) { EXPECT_EQ(p.files_done, ++progress); };
    std::vector<std::string> texts;
    std::vector<ReportEntry> report;
    read_files(docs(), files, options, [&](const FoundFile& file, FileOutcome outcome) {
      EXPECT_EQ(file.path, files[texts.size() + report.size()].path);
      if (auto* bad = std::get_if<ReportEntry>(&outcome)) {
        report.push_back(*bad);
      } else {
        texts.push_back(std::get<ReadResult>(outcome).document.text);
      }
    });
    EXPECT_EQ(texts.size(), 54u);
    EXPECT_EQ(texts[3], "n 4\n");
    ASSERT_EQ(report.size(), 6u);
    EXPECT_EQ(report[0].path, "03.txt");
    EXPECT_EQ(report[0].code, ErrorCode::Unsupported);
    EXPECT_THAT(report[0].message, HasSubstr("03.txt: not text"));
    EXPECT_EQ(progress, 60u);
  }
}

TEST_F(FolderTest, PassagesAreCutInTheReadingThreads) {
  write("a.txt", "one two");
  write("b.txt", "three");
  ReadFilesOptions options;
  options.cut = [](const Document& document) {
    OB_REQUIRE(document.text != "three\n", Corrupt, "{}: not three", document.path);
    return std::vector<Passage>{{.document_id = document.id, .text = document.text}};
  };
  std::vector<std::string> got;
  read_files(docs(), list_folder(docs(), {}).files, options,
             [&](const FoundFile&, FileOutcome outcome) {
               const auto* bad = std::get_if<ReportEntry>(&outcome);
               got.push_back(bad != nullptr ? bad->message
                                            : std::get<ReadResult>(outcome).passages.at(0).text);
             });
  EXPECT_THAT(got, ElementsAre("one two\n", HasSubstr("not three")));
}

TEST_F(FolderTest, FilesThatGoAwayOrAreTooLargeAreReported) {
  write("a.txt", "x");
  write("b.txt", std::string(5000, 'x'));
  const auto files = list_folder(docs(), {}).files;
  stdfs::remove(docs() / "a.txt");
  ReadFilesOptions options;
  options.read.limits.max_file_bytes = 1000;
  std::vector<ErrorCode> codes;
  read_files(docs(), files, options, [&](const FoundFile&, FileOutcome outcome) {
    codes.push_back(std::get<ReportEntry>(outcome).code);
  });
  EXPECT_THAT(codes, ElementsAre(ErrorCode::NotFound, ErrorCode::Unsupported));
}

TEST_F(FolderTest, SinkErrorsAndStopEndTheRun) {
  for (int i = 0; i < 30; ++i) {
    write(fmt::format("{}.txt", i), "x");
  }
  const auto files = list_folder(docs(), {}).files;
  EXPECT_THROW(read_files(docs(), files, {},
                          [](const FoundFile&, FileOutcome) { OB_THROW(Io, "disk full"); }),
               Error);
  std::stop_source source;
  ReadFilesOptions options;
  options.stop = source.get_token();
  int seen = 0;
  try {
    read_files(docs(), files, options, [&](const FoundFile&, FileOutcome) {
      if (++seen == 5) {
        source.request_stop();
      }
    });
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Cancelled);
  }
  EXPECT_EQ(seen, 5);
}

TEST_F(FolderTest, ASingleFileIsAFolderOfOne) {
  write("a.txt", "x");
  const auto files = list_folder(docs() / "a.txt", {}).files;
  ASSERT_THAT(paths(files), ElementsAre("a.txt"));
  int read = 0;
  read_files(docs() / "a.txt", files, {}, [&](const FoundFile&, FileOutcome outcome) {
    read += std::holds_alternative<ReadResult>(outcome) ? 1 : 0;
  });
  EXPECT_EQ(read, 1);
}

}  // namespace
}  // namespace offbook::ingest
