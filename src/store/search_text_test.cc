#include "src/store/search_text.h"

#include "src/store/store_testing.h"

namespace offbook::store {
namespace {

class SearchTextTest : public ::testing::Test {
 protected:
  int64_t put(const std::string& id, const std::vector<std::string>& lines) {
    return put_document(corpus_, generation_, id, lines);
  }
  std::vector<int64_t> ids(const TextQuery& query) {
    std::vector<int64_t> found;
    for (const TextHit& hit : TextSearcher(corpus_, generation_).search(query)) {
      found.push_back(hit.passage_id);
    }
    return found;
  }
  TemporaryDirectory dir_;
  Corpus corpus_ = Corpus::create(dir_.path() / "c", {});
  int64_t generation_ = corpus_.generations().begin({});
};

TEST_F(SearchTextTest, FindsStemsAndRanksTheRarerWordFirst) {
  const int64_t a = put("a", {"the committee decided on class sizes", "nothing here", "classes"});
  EXPECT_EQ(ids({.text = "What did the committee decide?"}),
            std::vector<int64_t>{a << kOrdinalBits});
  EXPECT_EQ(ids({.text = "class decision decides"}).front(), a << kOrdinalBits);
  EXPECT_TRUE(ids({.text = "zebra"}).empty());
  EXPECT_TRUE(ids({.text = ""}).empty());
  EXPECT_TRUE(ids({.text = "?! -- ()"}).empty());
}

TEST_F(SearchTextTest, NothingInAQuestionIsSyntax) {
  put("a", {"red green", "blue NEAR yellow", "text column"});
  for (const char* text :
       {"red AND zebra", "NOT red", "text : red", "\"red", "red*", "NEAR(red blue)", "^red",
        "{text} : red", "red\"\" OR", "(red", "'; DROP TABLE documents; --", "red + green"}) {
    EXPECT_NO_THROW(ids({.text = text})) << text;
  }
  EXPECT_EQ(ids({.text = "red AND zebra"}).size(), 1u);
  EXPECT_EQ(ids({.text = std::string("red\0green", 9)}).size(), 1u);
}

TEST_F(SearchTextTest, CommonWordsAreDroppedUnlessNothingIsLeft) {
  std::vector<std::string> lines(300, "the common word");
  lines.push_back("the rare plum");
  put("a", lines);
  TextSearcher searcher(corpus_, generation_);
  EXPECT_EQ(searcher.words("the common plum"), std::vector<std::string>{"plum"});
  EXPECT_EQ(searcher.words("the common"), (std::vector<std::string>{"the", "common"}));
  EXPECT_TRUE(searcher.words("absent").empty());
  EXPECT_EQ(searcher.search({.text = "the common plum"}).size(), 1u);
  EXPECT_EQ(searcher.search({.text = "the", .top_k = 7}).size(), 7u);
}

TEST_F(SearchTextTest, FiltersByPathAndGeneration) {
  const int64_t a = put("notes/a", {"plum jam"});
  const int64_t b = put("books/b", {"plum cake"});
  EXPECT_EQ(ids({.text = "plum"}).size(), 2u);
  EXPECT_EQ(ids({.text = "plum", .path_globs = {"notes/*"}}),
            std::vector<int64_t>{a << kOrdinalBits});
  EXPECT_EQ(ids({.text = "plum", .path_globs = {"*.txt"}}).size(), 2u);
  EXPECT_TRUE(ids({.text = "plum", .path_globs = {"*.pdf"}}).empty());
  corpus_.documents().exclude(generation_, "notes/a");
  EXPECT_EQ(ids({.text = "plum"}), std::vector<int64_t>{b << kOrdinalBits});
}

TEST_F(SearchTextTest, SeesChangesAndForgetsRemovedDocuments) {
  put("a", {"plum jam"});
  TextSearcher searcher(corpus_, generation_);
  EXPECT_EQ(searcher.search({.text = "plum quince"}).size(), 1u);
  put("b", {"quince jelly"});
  EXPECT_EQ(searcher.search({.text = "plum quince"}).size(), 2u);
  corpus_.remove_document("a");
  EXPECT_EQ(searcher.search({.text = "plum quince"}).size(), 1u);
  corpus_.documents().rebuild_text_index();
  EXPECT_EQ(searcher.search({.text = "plum quince"}).size(), 1u);
}

TEST_F(SearchTextTest, LongQuestionsUseTheirRarestWords) {
  std::vector<std::string> lines;
  std::string question = "often";
  for (int i = 0; i < 60; ++i) {
    lines.push_back(fmt::format("often word{}", i));
    question += fmt::format(" word{}", i);
  }
  put("a", lines);
  const auto words = TextSearcher(corpus_, generation_).words(question);
  EXPECT_EQ(words.size(), static_cast<size_t>(TextSearcher::kMaxWords));
  EXPECT_EQ(std::ranges::count(words, "often"), 0);
}

}  // namespace
}  // namespace offbook::store
