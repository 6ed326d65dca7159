// Fidelity with a tiny model: who is measured, what is stored, what is carried over.
#include "src/learn/fidelity.h"

#include "src/learn/learn_testing.h"
#include "src/learn/question_set.h"

namespace offbook::learn {
namespace {

class FidelityTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new store::TemporaryDirectory;
    write_tiny_model(directory_->path() / "model");
  }
  static void TearDownTestSuite() { delete directory_; }

  FidelityTest() : corpus_(store::Corpus::create(dir_.path() / "c", {})) {
    generation_ = corpus_.generations().begin({});
    for (const char* id : {"many", "few"}) {
      numbers_[id] = store::put_document(corpus_, generation_, id, {"some words of it"});
    }
  }
  std::vector<Example> questions(const std::string& id, int count) {
    std::vector<Example> out;
    for (int i = 0; i < count; ++i) {
      Example e{.question = fmt::format("What is number {}?", i),
                .answers = {"anything"},
                .document_id = id};
      e.id = example_id(e);
      out.push_back(e);
    }
    return out;
  }
  // Prompts that differ, so that the two sides do; empty ones are not asked and score 0.
  PromptMaker prompts(const std::string& words) const {
    return [this, words](const std::string& question) {
      return answer::Prompt{
          {.name = "system", .tokens = model_.tokenizer().encode(words, {}).ids},
          {.name = "question", .tokens = model_.tokenizer().encode(question, {}).ids}};
    };
  }
  FidelityResult run(const std::vector<Example>& held_out, const FidelityOptions& options) {
    model::Decoder decoder = model_.make_decoder(pool_, 2048);
    return assess_fidelity(corpus_, generation_, "beacon", held_out,
                           {prompts("raw"), prompts("slots"), {"raw"}, {"slots"}}, model_, decoder,
                           {.max_answer_tokens = 4}, options);
  }

  static inline store::TemporaryDirectory* directory_ = nullptr;
  store::TemporaryDirectory dir_;
  store::Corpus corpus_;
  int64_t generation_ = 0;
  std::map<std::string, int64_t> numbers_;
  backend::ThreadPool pool_{2};
  model::LanguageModel model_{real_file_system(), directory_->path() / "model", pool_,
                              model::LanguageModelOptions{.backend = backend::best_cpu_backend(),
                                                          .chat_template = "chatml"}};
};

TEST_F(FidelityTest, DocumentsWithTooFewQuestionsAreRawAndSaySo) {
  std::vector<Example> held_out = questions("many", 22);
  const auto few = questions("few", 3);
  held_out.insert(held_out.end(), few.begin(), few.end());
  const FidelityResult r = run(held_out, {});
  EXPECT_EQ(r.documents, 2);
  EXPECT_EQ(r.measured, 1);
  EXPECT_EQ(r.too_few, 1);
  const auto stored = corpus_.generations().fidelity(generation_);
  ASSERT_EQ(stored.size(), 2u);
  for (const store::Fidelity& f : stored) {
    EXPECT_EQ(f.questions, f.document == numbers_["many"] ? 22 : 3);
    EXPECT_FALSE(f.use_slots) << "a random model answers nothing right: there is nothing to keep";
  }
  EXPECT_EQ(corpus_.jobs().counts("assess/slots").done, 22);
  EXPECT_EQ(run(held_out, {.max_answers = 10}).left_out, 1);
}

TEST_F(FidelityTest, VerdictsGoOverToAGenerationWithTheSameVersions) {
  corpus_.generations().put_fidelity(generation_, {.document = numbers_["many"],
                                                   .method = "beacon",
                                                   .score = 0.9,
                                                   .lower = 0.85,
                                                   .upper = 1,
                                                   .questions = 30,
                                                   .use_slots = true});
  corpus_.generations().activate(generation_);
  const int64_t next = corpus_.generations().begin({});
  carry_fidelity(corpus_, generation_, next, "autocompressor");
  EXPECT_TRUE(corpus_.generations().fidelity(next).empty());
  carry_fidelity(corpus_, generation_, next, "beacon");
  ASSERT_EQ(corpus_.generations().fidelity(next).size(), 1u);
  EXPECT_TRUE(corpus_.generations().fidelity(next)[0].use_slots);
}

TEST(FidelityReason, NamesWhatDecided) {
  const store::Fidelity few{.questions = 4};
  EXPECT_THAT(reason_of(few, 0.8), testing::HasSubstr("4 questions held back, 20 are needed"));
  store::Fidelity good{
      .score = 0.9, .lower = 0.85, .upper = 0.97, .questions = 30, .use_slots = true};
  EXPECT_THAT(reason_of(good, 0.8), testing::StartsWith("slots may be used"));
  good.use_slots = false;
  EXPECT_THAT(reason_of(good, 0.88), testing::HasSubstr("floor 0.88"));
}

}  // namespace
}  // namespace offbook::learn
