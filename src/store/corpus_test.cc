#include "src/store/corpus.h"

#include "src/store/schema.h"
#include "src/store/store_testing.h"

namespace offbook::store {
namespace {

using ::testing::HasSubstr;

class CorpusTest : public ::testing::Test {
 protected:
  Corpus create() { return Corpus::create(path(), {}); }
  Corpus open(Access access) { return Corpus::open(path(), {.access = access}); }
  std::filesystem::path path() const { return dir_.path() / "c"; }
  TemporaryDirectory dir_;
};

TEST_F(CorpusTest, IsPrivateAndOpensAgain) {
  create().set_setting("model", "m");
  EXPECT_EQ(std::filesystem::status(path()).permissions(), std::filesystem::perms::owner_all);
  EXPECT_EQ(std::filesystem::status(path() / "corpus.db").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_EQ(open(Access::read).setting("model"), "m");
  EXPECT_EQ(open(Access::read).setting("none"), std::nullopt);
}

TEST_F(CorpusTest, WrongPlacesAreNamed) {
  const auto [missing, missing_text] = error_of([&] { open(Access::read); });
  EXPECT_EQ(missing, ErrorCode::NotFound);
  EXPECT_THAT(missing_text, HasSubstr(path().string()));
  std::filesystem::create_directories(path());
  EXPECT_EQ(error_of([&] { open(Access::read); }).first, ErrorCode::InvalidArgument);
  const std::string rubbish(5000, 'x');
  write_file_atomically(real_file_system(), path() / "corpus.db",
                        std::as_bytes(std::span(rubbish)));
  EXPECT_EQ(error_of([&] { open(Access::read); }).first, ErrorCode::Corrupt);
  std::filesystem::remove(path() / "corpus.db");
  std::filesystem::remove(path() / "lock");
  write_file_atomically(real_file_system(), path() / "letter.txt", {});
  EXPECT_THAT(error_of([&] { create(); }).second, HasSubstr("letter.txt"));
}

TEST_F(CorpusTest, NewerFormatAndForeignDatabasesAreRefused) {
  create().db().execute("PRAGMA user_version = 99");
  const auto [code, text] = error_of([&] { open(Access::write); });
  EXPECT_EQ(code, ErrorCode::Unsupported);
  EXPECT_THAT(text, HasSubstr("format 99"));
  Database(DatabaseOptions{.path = path() / "corpus.db"})
      .execute("PRAGMA user_version = 1; PRAGMA application_id = 7");
  EXPECT_EQ(error_of([&] { open(Access::read); }).first, ErrorCode::InvalidArgument);
}

TEST_F(CorpusTest, MigrationsRunForwardOneStepEach) {
  create();
  Database db(DatabaseOptions{.path = path() / "corpus.db"});
  std::vector<Migration> steps(migrations().begin(), migrations().end());
  steps.push_back([](Database& d) { d.execute("CREATE TABLE later(x)"); });
  steps.push_back([](Database& d) { d.execute("INSERT INTO later VALUES(1)"); });
  Database reader(DatabaseOptions{.path = path() / "corpus.db", .is_read_only = true});
  EXPECT_EQ(error_of([&] { bring_up_to_date(reader, steps); }).first, ErrorCode::Unsupported);
  bring_up_to_date(db, steps);
  bring_up_to_date(db, steps);
  EXPECT_EQ(db.integer("SELECT count(*) FROM later"), 1);
  EXPECT_EQ(db.integer("PRAGMA user_version"), std::ssize(steps));
}

TEST_F(CorpusTest, CorporaOfFormat1GetTheTablesOfLaterOnes) {
  {
    Database db(DatabaseOptions{.path = dir_.path() / "old.db", .create = true});
    bring_up_to_date(db, migrations().first(1));
    db.run(
        "INSERT INTO generations(state, settings, note, created_ns) VALUES(1, '{}', 'as it was', "
        "7)");
  }
  Database db(DatabaseOptions{.path = dir_.path() / "old.db"});
  bring_up_to_date(db, migrations());
  GenerationTable generations(db, [] { return int64_t{8}; });
  EXPECT_EQ(generations.active()->note, "as it was");
  EXPECT_TRUE(generations.group_adapters(1).empty());
  EXPECT_TRUE(generations.ratios(1).empty());
}

TEST_F(CorpusTest, AGenerationTakesOverTheAdaptersOfGroups) {
  Corpus corpus = create();
  const std::string bytes = "tensors";
  for (const char* id : {"one", "two"}) {
    corpus.adapters().put({.id = id, .documents = {{id, "1"}}}, std::as_bytes(std::span(bytes)));
  }
  const int64_t first = corpus.generations().begin({});
  put_document(corpus, first, "two", {"text"});
  corpus.generations().set_group_adapter(first, "minutes", "one", "not worse");
  corpus.generations().set_group_adapter(first, "letters", "one", "");
  corpus.generations().set_group_adapter(first, "letters", "two", "better");
  corpus.generations().activate(first);
  const int64_t next = corpus.generations().begin({});
  auto there = corpus.generations().group_adapters(next);
  ASSERT_EQ(there.size(), 2u);
  EXPECT_EQ(there[0].group, "letters");
  EXPECT_EQ(there[0].adapter, "two");
  EXPECT_EQ(there[0].note, "better");
  corpus.remove_document("two");
  EXPECT_TRUE(corpus.generations().group_adapters(next)[0].is_stale);
  corpus.adapters().remove("two");
  corpus.generations().set_group_adapter(next, "minutes", "", "");
  EXPECT_TRUE(corpus.generations().group_adapters(next).empty());
  EXPECT_EQ(corpus.generations().group_adapters(first).size(), 1u);
}

TEST_F(CorpusTest, SecondWriterIsToldWhoIsFirst) {
  Corpus first = create();
  const auto [code, text] = error_of([&] { open(Access::write); });
  EXPECT_EQ(code, ErrorCode::Io);
  EXPECT_THAT(text, HasSubstr(fmt::format("process {}", ::getpid())));
  EXPECT_NO_THROW(open(Access::read));
}

TEST_F(CorpusTest, DocumentsComeBackWithTextAndPassages) {
  Corpus corpus = create();
  const int64_t generation = corpus.generations().begin({});
  Document document = make_document("long", {"first line", std::string(200'000, 'y'), "last"});
  std::vector<Passage> passages = make_passages(document);
  const int64_t number = corpus.documents().put(generation, document, passages);
  EXPECT_EQ(passages[2].id, (number << kOrdinalBits) + 2);
  const Document back = corpus.documents().load(number);
  EXPECT_EQ(back.text, document.text);
  EXPECT_EQ(back.sections.size(), 1u);
  EXPECT_EQ(back.sections[0].page, 1);
  EXPECT_EQ(corpus.documents().passage(passages[2].id).text, "last");
  EXPECT_EQ(corpus.documents().passages(number)[0].headings, std::vector<std::string>{"Top"});
  EXPECT_EQ(corpus.documents().find(generation, "long.txt")->number, number);
  EXPECT_FALSE(corpus.documents().find(generation, "other"));
  EXPECT_EQ(error_of([&] {
              corpus.documents().text(number, {0, 1 << 30});
            }).first,
            ErrorCode::InvalidArgument);
  passages[1].text = "not there";
  document.id = "other";
  EXPECT_EQ(error_of([&] { corpus.documents().put(generation, document, passages); }).first,
            ErrorCode::InvalidArgument);
}

TEST_F(CorpusTest, SameDocumentAgainIsNotWrittenAgain) {
  Corpus corpus = create();
  const int64_t generation = corpus.generations().begin({});
  const int64_t first = put_document(corpus, generation, "a", {"one", "two"});
  EXPECT_EQ(put_document(corpus, generation, "a", {"one", "two"}), first);
  const int64_t second = put_document(corpus, generation, "a", {"one", "three"});
  EXPECT_NE(second, first);
  ASSERT_EQ(corpus.documents().list(generation).size(), 1u);
  EXPECT_EQ(corpus.documents().list(generation)[0].number, second);
}

TEST_F(CorpusTest, OldGenerationAnswersUntilTheNewOneIsActiveAndAfterRollback) {
  Corpus corpus = create();
  auto generations = corpus.generations();
  EXPECT_EQ(error_of([&] { generations.require_active(); }).first, ErrorCode::NotFound);
  const int64_t first = generations.begin({{"ratio", 8}});
  put_document(corpus, first, "a", {"old text"});
  generations.activate(first);
  const int64_t second = generations.begin({});
  EXPECT_EQ(generations.begin({}), second);  // goes on with the one that is being built
  put_document(corpus, second, "a", {"new text"});
  EXPECT_EQ(generations.require_active(), first);
  const auto text = [&] {
    return corpus.documents()
        .load(corpus.documents().find(generations.require_active(), "a")->number)
        .text;
  };
  EXPECT_EQ(text(), "old text\n");
  generations.activate(second);
  EXPECT_EQ(text(), "new text\n");
  EXPECT_EQ(generations.rollback(), first);
  EXPECT_EQ(text(), "old text\n");
  EXPECT_EQ(error_of([&] { generations.rollback(); }).first, ErrorCode::InvalidArgument);
  EXPECT_EQ(corpus.drop_old_generations(1), 1);
  EXPECT_EQ(corpus.db().integer("SELECT count(*) FROM documents"), 1);
}

TEST_F(CorpusTest, FailedGenerationLeavesTheActiveOne) {
  Corpus corpus = create();
  auto generations = corpus.generations();
  const int64_t first = generations.begin({});
  generations.activate(first);
  const int64_t second = generations.begin({});
  generations.mark_failed(second, "worse: F1 0.2 after 0.3");
  EXPECT_EQ(generations.require_active(), first);
  EXPECT_EQ(generations.list()[1].note, "worse: F1 0.2 after 0.3");
  EXPECT_EQ(error_of([&] { generations.activate(second); }).first, ErrorCode::InvalidArgument);
  EXPECT_EQ(generations.require_active(), first);
}

TEST_F(CorpusTest, RemovingADocumentTouchesOnlyItsOwnAndMarksTheRestStale) {
  Corpus corpus = create();
  const int64_t generation = corpus.generations().begin({});
  for (const char* id : {"a", "b"}) {
    const int64_t number = put_document(corpus, generation, id, {"text of", id});
    corpus.vectors().put(number, make_vectors(number, 2));
    const Segment segment = make_segment(corpus.documents().load(number));
    corpus.contexts().put_segments(number, {segment});
    corpus.contexts().put(number, segment, make_text_context(segment), KvPrecision::as_made);
    corpus.examples().put({.example = {.id = id, .question = "q", .document_id = id}});
  }
  const std::string bytes = "tensors";
  corpus.adapters().put({.id = "ab", .documents = {{"a", "1"}, {"b", "2"}}},
                        std::as_bytes(std::span(bytes)));
  corpus.adapters().put({.id = "b", .documents = {{"b", "2"}}}, std::as_bytes(std::span(bytes)));
  EXPECT_TRUE(corpus.remove_document("a"));
  EXPECT_FALSE(corpus.remove_document("a"));
  EXPECT_EQ(corpus.db().integer("SELECT count(*) FROM passages"), 2);
  EXPECT_EQ(corpus.db().integer("SELECT count(*) FROM texts"), 1);
  EXPECT_EQ(corpus.db().integer("SELECT count(*) FROM contexts"), 1);
  EXPECT_EQ(corpus.vectors().load(generation, std::string(32, 'e')).size(), 1u);
  EXPECT_TRUE(corpus.adapters().find("ab")->is_stale);
  EXPECT_EQ(error_of([&] { corpus.adapters().load("ab"); }).first, ErrorCode::InvalidArgument);
  EXPECT_EQ(corpus.adapters().load("b").numel(), 7);
  EXPECT_EQ(corpus.examples().usable().size(), 1u);
  EXPECT_TRUE(corpus.examples().of_document("a")[0].is_stale);
}

TEST_F(CorpusTest, EqualSegmentsShareAContextWithTheirOwnSpans) {
  Corpus corpus = create();
  const int64_t generation = corpus.generations().begin({});
  const int64_t a = put_document(corpus, generation, "a", {"same words"});
  const int64_t b = put_document(corpus, generation, "b", {"same words"});
  const Segment of_a = make_segment(corpus.documents().load(a));
  const Segment of_b = make_segment(corpus.documents().load(b));
  corpus.contexts().put_segments(a, {of_a});
  corpus.contexts().put_segments(b, {of_b});
  EXPECT_EQ(corpus.contexts().segments(a)[0].token_spans, of_a.token_spans);
  EXPECT_FALSE(corpus.contexts().reuse(b, of_b, make_recipe()));
  corpus.contexts().put(a, of_a, make_text_context(of_a), KvPrecision::as_made);
  EXPECT_FALSE(corpus.contexts().get(b, 0, make_recipe()));
  EXPECT_TRUE(corpus.contexts().reuse(b, of_b, make_recipe()));
  EXPECT_EQ(corpus.contexts().get(b, 0, make_recipe())->document_id, "b");
  corpus.generations().put_fidelity(
      generation, {.document = b, .method = "truncate", .score = 0.9, .lower = 0.8, .upper = 1});
  EXPECT_EQ(corpus.contexts().get(b, 0, make_recipe())->fidelity, 0.8);
  EXPECT_EQ(corpus.generations().fidelity(generation).size(), 1u);
  corpus.remove_document("a");
  EXPECT_TRUE(corpus.contexts().get(b, 0, make_recipe()));
}

TEST_F(CorpusTest, BudgetEvictsWhatIsAskedForLeast) {
  Corpus corpus = create();
  const int64_t generation = corpus.generations().begin({});
  for (const char* id : {"a", "b", "c"}) {
    const int64_t number = put_document(corpus, generation, id, {id});
    const Segment segment = make_segment(corpus.documents().load(number));
    corpus.contexts().put_segments(number, {segment});
    CompressedContext context = make_text_context(segment);
    context.slot_spans = {{0, 1}};
    corpus.contexts().put(number, segment, context, KvPrecision::as_made);
    if (*id != 'b') {
      corpus.contexts().count_hit(number, 0, make_recipe());
    }
  }
  const uint64_t all = corpus.contexts().stored_bytes();
  EXPECT_EQ(corpus.contexts().enforce_budget(all), 0);
  EXPECT_EQ(corpus.contexts().enforce_budget(all - 1), 1);
  EXPECT_FALSE(corpus.contexts().get(2, 0, make_recipe()));
  EXPECT_TRUE(corpus.contexts().get(1, 0, make_recipe()));
  EXPECT_EQ(corpus.contexts().evict_others(make_recipe()), 0);
  ContextRecipe other = make_recipe();
  other.ratio = 16;
  EXPECT_EQ(corpus.contexts().evict_others(other), 2);
  EXPECT_EQ(corpus.contexts().stored_bytes(), 0u);
}

TEST_F(CorpusTest, ASegmentIsFoundByItsPassage) {
  Corpus corpus = create();
  const int64_t generation = corpus.generations().begin({});
  const int64_t number = put_document(corpus, generation, "a", {"one", "two", "three"});
  std::vector<Segment> segments(2);
  for (int i = 0; i < 2; ++i) {
    segments[static_cast<size_t>(i)] = {.document_id = "a",
                                        .ordinal = i,
                                        .first_passage = 2 * i,
                                        .last_passage = i + 1,
                                        .span = {static_cast<uint64_t>(4 * i), 9},
                                        .tokens = {i},
                                        .token_spans = {{static_cast<uint64_t>(4 * i), 9}}};
  }
  corpus.contexts().put_segments(number, segments);
  EXPECT_EQ(corpus.contexts().segment_of(number, 1)->ordinal, 0);
  EXPECT_EQ(corpus.contexts().segment_of(number, 2)->ordinal, 1);
  EXPECT_FALSE(corpus.contexts().segment_of(number, 3));
  EXPECT_FALSE(corpus.contexts().segment_of(number + 1, 0));
}

TEST_F(CorpusTest, VectorsOfADocumentAreItsOwn) {
  Corpus corpus = create();
  const int64_t generation = corpus.generations().begin({});
  const int64_t a = put_document(corpus, generation, "a", {"1", "2"});
  const std::string encoder(32, 'e');
  EXPECT_EQ(corpus.vectors().missing(generation, encoder), std::vector<int64_t>{a});
  EXPECT_EQ(error_of([&] { corpus.vectors().put(a, make_vectors(a + 1, 2)); }).first,
            ErrorCode::InvalidArgument);
  corpus.vectors().put(a, make_vectors(a, 2));
  EXPECT_TRUE(corpus.vectors().missing(generation, encoder).empty());
  EXPECT_EQ(corpus.vectors().get(a, encoder)->ids.data<int64_t>()[1], (a << kOrdinalBits) + 1);
  EXPECT_FALSE(corpus.vectors().contains(a, std::string(32, 'f')));
}

TEST_F(CorpusTest, StagesGoOnWhereTheyStopped) {
  {
    Corpus corpus = create();
    auto jobs = corpus.jobs();
    jobs.plan("compress", {{"a", "1"}, {"b", "1"}, {"c", "1"}});
    EXPECT_EQ(jobs.claim("compress")->unit, "a");
    jobs.complete("compress", "a");
    EXPECT_EQ(jobs.claim("compress")->unit, "b");
    jobs.save_state("compress", "b", {.fields = {{"step", 7}}});
  }
  Corpus corpus = open(Access::write);
  auto jobs = corpus.jobs();
  jobs.plan("compress", {{"a", "1"}, {"b", "1"}, {"c", "1"}});
  EXPECT_EQ(jobs.counts("compress").done, 1);
  EXPECT_EQ(jobs.claim("compress")->unit, "b");
  EXPECT_EQ(jobs.load_state("compress", "b")->fields["step"], 7);
  jobs.fail("compress", "b", "no memory");
  EXPECT_EQ(jobs.find("compress", "b")->detail, "no memory");
  jobs.plan("compress", {{"a", "2"}, {"b", "1"}});
  EXPECT_EQ(jobs.counts("compress").pending, 2);
  EXPECT_EQ(jobs.list("compress").size(), 2u);
  EXPECT_EQ(error_of([&] { jobs.complete("compress", "z"); }).first, ErrorCode::NotFound);
}

TEST_F(CorpusTest, BatchCommitsByTimeAndByUnitsAndKeepsWhatWasDone) {
  double now = 0;
  Corpus corpus = create();
  corpus.jobs().plan("s", {{"a", ""}, {"b", ""}, {"c", ""}});
  const auto done_outside = [&] { return open(Access::read).jobs().counts("s").done; };
  try {
    Batch batch(corpus, {.max_seconds = 5}, [&] { return now; });
    corpus.jobs().complete("s", "a");
    batch.unit_done();
    EXPECT_EQ(done_outside(), 0);
    now = 5;
    corpus.jobs().complete("s", "b");
    batch.unit_done();
    EXPECT_EQ(done_outside(), 2);
    EXPECT_EQ(batch.durable_units(), 2);
    {
      Transaction whole(corpus.db());
      corpus.jobs().complete("s", "c");
      throw std::runtime_error("Ctrl-C in the middle of a unit");
    }
  } catch (const std::runtime_error&) {
    EXPECT_EQ(done_outside(), 2);
  }
  EXPECT_EQ(error_of([&] { Batch(corpus, {.max_seconds = 31}); }).first,
            ErrorCode::InvalidArgument);
}

}  // namespace
}  // namespace offbook::store
