#include "src/store/check.h"

#include <fstream>
#include <sstream>

#include "src/store/dump.h"
#include "src/store/search_text.h"
#include "src/store/store_testing.h"
#include "src/store/transfer.h"

namespace offbook::store {
namespace {

using ::testing::HasSubstr;

std::string dump_of(Corpus& corpus) {
  std::ostringstream out;
  dump(corpus, out);
  return out.str();
}

// Two documents with everything a corpus can hold.
void fill(Corpus& corpus) {
  const int64_t generation = corpus.generations().begin({{"ratio", 8}});
  corpus.jobs().plan(kStageIndex, {{"a", "1"}, {"b", "1"}});
  corpus.jobs().plan(kStageCompress, {{"a/0", "1"}, {"b/0", "1"}});
  for (const std::string id : {"a", "b"}) {
    const int64_t number = put_document(corpus, generation, id, {"words of " + id, "more plums"});
    corpus.vectors().put(number, make_vectors(number, 2));
    const Segment segment = make_segment(corpus.documents().load(number));
    corpus.contexts().put_segments(number, {segment});
    corpus.contexts().put(number, segment, make_text_context(segment), KvPrecision::as_made);
    corpus.jobs().complete(kStageIndex, id);
    corpus.jobs().complete(kStageCompress, id + "/0");
  }
  const std::string bytes = "tensors";
  corpus.adapters().put({.id = "ab", .documents = {{"a", "1"}}}, std::as_bytes(std::span(bytes)));
  corpus.examples().put({.example = {.id = "1", .question = "q?", .answers = {"yes"}}});
  corpus.generations().set_adapter(generation, "ab");
  corpus.generations().activate(generation);
}

class CheckTest : public ::testing::Test {
 protected:
  void SetUp() override { fill(corpus_); }
  std::string artefact(const char* table) {
    Query q = corpus_.db().query(fmt::format("SELECT artefact FROM {} LIMIT 1", table));
    EXPECT_TRUE(q.step());
    return q.string(0);
  }
  void damage(const std::string& id) {
    std::fstream file(corpus_.artefacts().path_of(id),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(70);
    file.put('#');
  }
  std::string findings(const CheckReport& report) {
    std::string text;
    for (const Finding& f : report.findings) {
      text += f.what + "\n";
    }
    return text;
  }
  TemporaryDirectory dir_;
  Corpus corpus_ = Corpus::create(dir_.path() / "c", {});
};

TEST_F(CheckTest, SoundCorpusHasNoFindings) {
  const CheckReport report = check(corpus_, false);
  EXPECT_EQ(findings(report), "");
  EXPECT_EQ(report.documents, 2);
  EXPECT_EQ(report.passages, 4);
  EXPECT_EQ(report.artefacts, 5);
}

TEST_F(CheckTest, DamagedVectorsAreNamedAndMadeAgain) {
  damage(artefact("vectors"));
  const CheckReport found = check(corpus_, false);
  EXPECT_FALSE(found.is_sound());
  EXPECT_THAT(findings(found), HasSubstr("vectors a.txt: artefact"));
  EXPECT_THAT(findings(found), HasSubstr("checksum"));
  EXPECT_TRUE(check(corpus_, true).is_sound());
  EXPECT_EQ(corpus_.jobs().counts(kStageIndex).pending, 1);
  EXPECT_EQ(corpus_.jobs().claim(kStageIndex)->unit, "a");
  EXPECT_EQ(findings(check(corpus_, false)), "");
}

TEST_F(CheckTest, MissingContextAndAdapterAreNamedAndDropped) {
  corpus_.artefacts().remove(artefact("contexts"));
  corpus_.artefacts().remove(artefact("adapters"));
  const std::string text = findings(check(corpus_, true));
  EXPECT_THAT(text, HasSubstr("compressed context truncate of"));
  EXPECT_THAT(text, HasSubstr("adapter ab"));
  EXPECT_EQ(corpus_.jobs().counts(kStageCompress).pending, 2);  // equal contents, one file
  EXPECT_EQ(corpus_.generations().active()->adapter, "");
  EXPECT_EQ(findings(check(corpus_, false)), "");
}

TEST_F(CheckTest, DamagedTextDropsTheDocumentAndRebuildsTheIndex) {
  corpus_.db().run("UPDATE texts SET data = x'00' WHERE id >> 24 = 1");
  corpus_.db().run("UPDATE passages SET end = 9999 WHERE id = (2 << 24)");
  const std::string text = findings(check(corpus_, true));
  EXPECT_THAT(text, HasSubstr("document a.txt"));
  EXPECT_THAT(text, HasSubstr("document b.txt: passage"));
  EXPECT_THAT(text, HasSubstr("full-text index"));
  EXPECT_EQ(findings(check(corpus_, false)), "");
}

TEST_F(CheckTest, WrongFullTextIndexIsRebuilt) {
  corpus_.db().run("INSERT INTO passage_text(passage_text) VALUES('delete-all')");
  corpus_.db().run(
      "INSERT INTO passage_text(rowid, text) SELECT id, 'one two three four' FROM passages");
  EXPECT_THAT(findings(check(corpus_, false)), HasSubstr("full-text index: passage"));
  check(corpus_, true);
  TextSearcher searcher(corpus_, corpus_.generations().require_active());
  EXPECT_EQ(searcher.search({.text = "plums"}).size(), 2u);
  EXPECT_EQ(findings(check(corpus_, false)), "");
}

TEST_F(CheckTest, GarbageIsNoDamageAndGoes) {
  corpus_.artefacts().put({.fields = {{"left", "behind"}}});
  std::ofstream(corpus_.artefacts().path_of(artefact("vectors")).string() + ".1-2.tmp") << "x";
  const CheckReport report = check(corpus_, false);
  EXPECT_TRUE(report.is_sound());
  EXPECT_EQ(report.findings.size(), 2u);
  EXPECT_EQ(collect_garbage(corpus_).files, 2);
  corpus_.remove_document("a");
  EXPECT_EQ(collect_garbage(corpus_).files, 1);  // its vectors; the context's file is b's as well
  EXPECT_EQ(findings(check(corpus_, false)), "");
  Transaction open(corpus_.db());
  EXPECT_EQ(error_of([&] { collect_garbage(corpus_); }).first, ErrorCode::InvalidArgument);
}

TEST_F(CheckTest, DumpsOfEqualWorkAreEqualWhateverTheTimes) {
  Corpus other = Corpus::create(dir_.path() / "d", {.now_ns = [] { return 7; }});
  fill(other);
  EXPECT_EQ(dump_of(corpus_), dump_of(other));
  other.set_setting("x", "y");
  EXPECT_NE(dump_of(corpus_), dump_of(other));
}

TEST_F(CheckTest, ExportedAndImportedCorporaAreEqual) {
  const auto file = dir_.path() / "out.tar.zst";
  export_corpus(corpus_, file);
  import_corpus(dir_.path(), "copy", file, {});
  Corpus copy = Corpora(dir_.path()).open("copy", Access::read);
  EXPECT_EQ(dump_of(copy), dump_of(corpus_));
  EXPECT_EQ(error_of([&] { import_corpus(dir_.path(), "copy", file, {}); }).first,
            ErrorCode::InvalidArgument);
  const auto [code, text] =
      error_of([&] { import_corpus(dir_.path(), "small", file, {.max_bytes = 1000}); });
  EXPECT_EQ(code, ErrorCode::Io);
  EXPECT_THAT(text, HasSubstr("1000 bytes"));
  EXPECT_EQ(Corpora(dir_.path()).list(), (std::vector<std::string>{"c", "copy"}));
}

TEST_F(CheckTest, DamagedAndHostileImportsAreRefused) {
  const auto file = dir_.path() / "out.tar.zst";
  export_corpus(corpus_, file);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  EXPECT_EQ(error_of([&] { import_corpus(dir_.path(), "x", file, {}); }).first, ErrorCode::Corrupt);
  corpus_.db().execute("CREATE TRIGGER t AFTER DELETE ON jobs BEGIN SELECT 1; END");
  export_corpus(corpus_, file);
  EXPECT_THAT(error_of([&] { import_corpus(dir_.path(), "x", file, {}); }).second,
              HasSubstr("triggers"));
  const auto folder = dir_.path() / "evil";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "escape") << "x";
  const std::string tar =
      fmt::format("tar --zstd -P -cf {} --transform 's|.*|../../escape|' {}/escape", file.string(),
                  folder.string());
  ASSERT_EQ(std::system(tar.c_str()), 0);
  EXPECT_THAT(error_of([&] { import_corpus(dir_.path(), "x", file, {}); }).second,
              HasSubstr("does not belong"));
  EXPECT_EQ(Corpora(dir_.path()).list(), std::vector<std::string>{"c"});
  EXPECT_FALSE(std::filesystem::exists(dir_.path().parent_path() / "escape"));
}

TEST(CorporaTest, NamesAreNoPathsAndFoldersAreKept) {
  TemporaryDirectory dir;
  const Corpora corpora(dir.path() / "root");
  EXPECT_TRUE(corpora.list().empty());
  corpora.create("one");
  EXPECT_EQ(error_of([&] { corpora.create("one"); }).first, ErrorCode::InvalidArgument);
  for (const char* name : {"", "..", ".x", "-x", "a/b", "/etc", "a b", "a\n"}) {
    EXPECT_EQ(error_of([&] { corpora.path_of(name); }).first, ErrorCode::InvalidArgument) << name;
  }
  EXPECT_THAT(error_of([&] { corpora.open("two", Access::read); }).second, HasSubstr("are: one"));
  {
    Corpus writer = corpora.open("one", Access::write);
    EXPECT_EQ(error_of([&] { corpora.remove("one"); }).first, ErrorCode::Io);
  }
  corpora.rename("one", "two");
  EXPECT_EQ(corpora.list(), std::vector<std::string>{"two"});
  EXPECT_EQ(error_of([&] { corpora.rename("one", "three"); }).first, ErrorCode::NotFound);
  corpora.remove("two");
  EXPECT_TRUE(corpora.list().empty());
  EXPECT_TRUE(std::filesystem::is_empty(dir.path() / "root"));
}

}  // namespace
}  // namespace offbook::store
