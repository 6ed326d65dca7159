// The documents and questions of examples/, read as a user would.
#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "src/ingest/folder.h"
#include "src/ingest/test_files.h"

namespace offbook::ingest {
namespace {

std::map<std::string, Document> read_examples() {
  std::map<std::string, Document> documents;
  const FolderListing listing = list_folder("examples/documents", {});
  EXPECT_TRUE(listing.skipped.empty());
  read_files("examples/documents", listing.files, {},
             [&](const FoundFile& file, FileOutcome outcome) {
               const auto* bad = std::get_if<ReportEntry>(&outcome);
               ASSERT_EQ(bad, nullptr) << bad->message;
               documents.emplace(file.path, std::move(std::get<ReadResult>(outcome).document));
             });
  return documents;
}

TEST(Examples, AreReadWholeAndSmall) {
  uint64_t bytes = 0;
  const auto documents = read_examples();
  for (const auto& [_, document] : documents) {
    expect_sound(document);
    bytes += document.text.size();
  }
  EXPECT_EQ(documents.size(), 10u);
  EXPECT_LE(bytes, 300'000u);
  EXPECT_EQ(documents.at("python/peps.csv").sections.size(), 60u);
  EXPECT_GT(documents.at("minutes/education-committee.pdf").sections.back().page.value_or(0), 10);
  EXPECT_EQ(documents.at("guides/history-and-values.docx").sections[0].headings[0],
            "History and values of 18F");
}

TEST(Examples, AnswersStandVerbatimInTheirFiles) {
  const auto documents = read_examples();
  std::ifstream questions("examples/questions.jsonl");
  int count = 0;
  for (std::string line; std::getline(questions, line); ++count) {
    const auto question = nlohmann::json::parse(line);
    const Document& document = documents.at(question.at("file").get<std::string>());
    for (const std::string answer : question.at("answers")) {
      EXPECT_NE(document.text.find(answer), std::string::npos) << line;
    }
  }
  EXPECT_GE(count, 10);
}

}  // namespace
}  // namespace offbook::ingest
