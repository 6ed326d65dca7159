#include "src/compress/quito/quito.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "src/compress/testing/tiny_model.h"
#include "src/text/bpe.h"
#include "src/text/unicode.h"

namespace offbook::compress {
namespace {

std::vector<Word> words_with(const std::vector<double>& scores,
                             const std::vector<int32_t>& tokens) {
  std::vector<Word> out;
  for (size_t i = 0; i < scores.size(); ++i) {
    out.push_back({{i, i + 1}, scores[i], tokens[i], tokens[i]});
  }
  return out;
}

std::vector<int32_t> tokens_of(std::span<const Word> words, std::span<const int32_t> kept) {
  std::vector<int32_t> out;
  for (const int32_t i : kept) {
    out.push_back(words[static_cast<size_t>(i)].tokens);
  }
  return out;
}

TEST(Words, TakeTheLargestWeightAndKeepLineEnds) {
  const std::string text = "Hel lo\n\nyou  x";
  const std::vector<ByteSpan> spans{{0, 3}, {3, 6}, {6, 8}, {8, 11}, {11, 12}, {12, 14}};
  const std::vector<double> weights{1, 2, 5, 3, 9, 4};
  const auto words = merge_words(text, spans, weights);
  ASSERT_EQ(words.size(), 3u);
  EXPECT_EQ(words[1].span, (ByteSpan{3, 11}));
  EXPECT_EQ(words[1].score, 5);
  EXPECT_EQ(words[1].tokens, 3);
  EXPECT_EQ(words[2].span, (ByteSpan{11, 14}));
  EXPECT_EQ(words[2].score, 4);  // not the dropped space's 9
  EXPECT_EQ(words[2].tokens, 2);
  EXPECT_EQ(words[2].published_tokens, 1);
  EXPECT_EQ(words[0].published_tokens, 2);
  EXPECT_TRUE(merge_words("", {}, {}).empty());
  EXPECT_TRUE(merge_words(" ", std::vector<ByteSpan>{{0, 1}}, std::vector<double>{1}).empty());
}

// scipy.ndimage.gaussian_filter1d([…], 1), printed with 17 digits.
TEST(Smoothing, EqualsScipy) {
  const auto smooth = gaussian_smooth(std::vector<double>{1, 0, 0, 4, 2}, 1);
  const std::vector<double> want{0.659445345240512, 0.5210584672494147, 1.1436900722470689,
                                 2.2099921623037724, 2.4658139529592322};
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(smooth[i], want[i], 1e-12);
  }
  const auto pair = gaussian_smooth(std::vector<double>{1, 3}, 1);  // mirrored twice over
  EXPECT_NEAR(pair[0], 1.7087711242360817, 1e-12);
  EXPECT_NEAR(pair[1], 2.2912288757639185, 1e-12);
  EXPECT_NEAR(gaussian_smooth(std::vector<double>{7}, 1)[0], 7, 1e-12);
  EXPECT_EQ(gaussian_smooth(std::vector<double>{1, 3}, 0), (std::vector<double>{1, 3}));
  EXPECT_THROW(gaussian_smooth(std::vector<double>{1}, -1), Error);
}

TEST(Filters, KeptCountsOfThePaper) {
  for (const size_t n : {size_t{1}, size_t{2}, size_t{5}}) {
    std::vector<double> scores(n);
    std::iota(scores.begin(), scores.end(), 1.0);
    const auto words = words_with(scores, std::vector<int32_t>(n, 1));
    for (const double ratio : {0.1, 0.5, 1.0}) {
      const auto kept = keep_words(words, {}, {.rules = QuitoRules::paper, .ratio = ratio});
      const double want =
          static_cast<double>(n) - 1 - std::floor(static_cast<double>(n) * (1 - ratio));
      EXPECT_EQ(kept.size(), static_cast<size_t>(std::max(0.0, want))) << n << " " << ratio;
    }
  }
}

TEST(Filters, TiesGoToTheFirst) {
  const auto words = words_with({1, 1, 1, 1}, {1, 1, 1, 1});
  EXPECT_EQ(keep_words(words, {}, {.token_budget = 2}), (std::vector<int32_t>{0, 1}));
}

TEST(Filters, SentencesStopAtTheFirstThatDoesNotFit) {
  const auto words = words_with({9, 1, 1, 8, 1, 1, 1, 7}, {1, 1, 1, 1, 1, 1, 1, 1});
  const std::vector<int32_t> ends{3, 7, 8};
  EXPECT_EQ(
      keep_words(words, ends, {.filter = QuitoFilter::sentence, .sigma = 0, .token_budget = 5}),
      (std::vector<int32_t>{0, 1, 2}));  // the third would fit, but the second did not
  EXPECT_EQ(keep_words(words, ends,
                       {.filter = QuitoFilter::dynamic_sentence, .sigma = 0, .token_budget = 5}),
            (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(keep_words(words, ends,
                       {.filter = QuitoFilter::dynamic_sentence, .sigma = 0, .token_budget = 8})
                .size(),
            8u);
  EXPECT_THROW(keep_words(words, {}, {.filter = QuitoFilter::sentence}), Error);
}

TEST(Filters, TheBudgetIsNeverExceeded) {
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    const size_t n = 1 + random.below(30);
    std::vector<double> scores;
    std::vector<int32_t> tokens;
    std::vector<int32_t> ends;
    for (size_t i = 0; i < n; ++i) {
      scores.push_back(random.uniform());
      tokens.push_back(1 + static_cast<int32_t>(random.below(4)));
      if (random.below(4) == 0 || i + 1 == n) {
        ends.push_back(static_cast<int32_t>(i) + 1);
      }
    }
    const auto words = words_with(scores, tokens);
    const int64_t budget = static_cast<int64_t>(random.below(40));
    for (const auto filter :
         {QuitoFilter::phrase, QuitoFilter::sentence, QuitoFilter::dynamic_sentence}) {
      const auto kept =
          tokens_of(words, keep_words(words, ends, {.filter = filter, .token_budget = budget}));
      EXPECT_LE(std::accumulate(kept.begin(), kept.end(), int64_t{0}), budget) << "round " << round;
    }
  }
  EXPECT_THROW(keep_words({}, {}, {.rules = QuitoRules::head, .token_budget = 3}), Error);
  EXPECT_THROW(keep_words({}, {}, {.ratio = 2}), Error);
}

class QuitoModel : public ::testing::Test {
 protected:
  testing::TinyModel tiny_{"smollm.json"};
};

// Softmax of the plain attention, from the model's own projections, in one head after another.
TEST_F(QuitoModel, TheRowIsTheAttentionOfTheLastToken) {
  const std::vector<int32_t> ids = tiny_.tokenizer->encode("The minister spoke about schools.").ids;
  const RowPrompt whole{.ids = ids, .begin = 0, .end = ids.size()};
  const auto row = attention_rows(tiny_.ctx, tiny_.llama, std::span(&whole, 1), {}).front();
  EXPECT_NEAR(std::accumulate(row.begin(), row.end(), 0.0), 1, 1e-12);
  // Values in place of attention: with v = e_i, the output of head h is its weight of token i.
  class Probe final : public model::AttentionPath {
   public:
    Probe(const testing::TinyModel& tiny, std::span<const int32_t> positions,
          std::span<const model::PackedSequence> one)
        : path_(tiny.ctx, tiny.llama.config(), tiny.llama.inv_freq(),
                {.sequences = one, .positions = positions}) {}
    Tensor attend(const model::Graph& g, int layer, const Tensor& q, const Tensor& k,
                  const Tensor& v) override {
      if (layer == 1) {
        for (int64_t i = 0; i < k.dim(0); ++i) {
          const Tensor unit = g.make(Dtype::f32, {v.dim(0), v.dim(1), v.dim(2)});
          std::fill_n(unit.data<float>(), unit.numel(), 0.0f);
          std::fill_n(unit.data<float>() + i * v.dim(1) * v.dim(2), v.dim(1) * v.dim(2), 1.0f);
          const Tensor out = path_.attend(g, layer, q, k, unit);
          double mean = 0;
          for (int64_t h = 0; h < out.dim(1); ++h) {
            mean += out.data<float>()[((out.dim(0) - 1) * out.dim(1) + h) * out.dim(2)] /
                    static_cast<double>(out.dim(1));
          }
          weights.push_back(mean);
        }
      }
      return path_.attend(g, layer, q, k, v);
    }
    std::vector<double> weights;

   private:
    model::PackedAttention path_;
  };
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  const model::PackedSequence one{.length = static_cast<int32_t>(ids.size())};
  Probe probe(tiny_, positions, std::span(&one, 1));
  const model::Graph g{tiny_.ctx};
  tiny_.llama.run(g,
                  tiny_.llama.embed(g, model::make_ints(tiny_.ctx, ids, {one.length}), Dtype::f32),
                  probe, {});
  ASSERT_EQ(probe.weights.size(), row.size());
  for (size_t i = 0; i < row.size(); ++i) {
    EXPECT_NEAR(row[i], probe.weights[i], 1e-5);
  }
}

TEST_F(QuitoModel, DocumentsPackedTogetherHaveTheRowsTheyHaveAlone) {
  const std::vector<std::string_view> documents{"Class sizes fell last year.", "",
                                                "  Prices rose.\n", "Nobody knew why it was so."};
  QuitoOptions options;
  const auto together =
      weigh_documents(tiny_.ctx, tiny_.llama, *tiny_.tokenizer, documents, "What rose?", options);
  options.rows_per_pass = 1;
  const auto alone =
      weigh_documents(tiny_.ctx, tiny_.llama, *tiny_.tokenizer, documents, "What rose?", options);
  EXPECT_TRUE(together[1].spans.empty());
  EXPECT_EQ(together[2].spans.front().begin, 2u);
  EXPECT_EQ(together[2].spans.back().end, 14u);
  for (size_t d = 0; d < documents.size(); ++d) {
    ASSERT_EQ(together[d].weights.size(), alone[d].weights.size());
    for (size_t i = 0; i < alone[d].weights.size(); ++i) {
      EXPECT_NEAR(together[d].weights[i], alone[d].weights[i], 1e-6);
    }
  }
}

// Every byte a token, and the control tokens of all chat formats.
std::unique_ptr<text::Tokenizer> byte_tokenizer() {
  text::BpeSpec spec;
  for (int byte = 0; byte < 256; ++byte) {
    text::append_utf8(spec.pieces.emplace_back(), text::byte_to_letter(static_cast<uint8_t>(byte)));
    spec.types.push_back(text::TokenType::normal);
  }
  for (const char* piece :
       {"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>",
        "<|eot_id|>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"}) {
    const auto id = static_cast<int32_t>(spec.pieces.size());
    spec.pieces.emplace_back(piece);
    spec.types.push_back(text::TokenType::control);
    spec.added.push_back({.content = piece, .id = id, .is_special = true});
  }
  spec.special = {.bos = 256, .eos = 257};
  return text::make_bpe_tokenizer(std::move(spec));
}

TEST(QuitoPrompt, TheDocumentIsFoundInEveryChatFormat) {
  const auto tokenizer = byte_tokenizer();
  const std::string document = "Two  lines,\nand a 🙂 <|im_end|> smile";
  std::vector<std::optional<text::ChatFormat>> formats{std::nullopt};
  for (int f = 0; f <= static_cast<int>(text::ChatFormat::mistral_v7); ++f) {
    formats.emplace_back(static_cast<text::ChatFormat>(f));
  }
  for (const auto& format : formats) {
    const QuitoPrompt prompt = make_quito_prompt(*tokenizer, format, document, "Who?");
    const std::vector<int32_t> ids(
        prompt.row.ids.begin() + static_cast<std::ptrdiff_t>(prompt.row.begin),
        prompt.row.ids.begin() + static_cast<std::ptrdiff_t>(prompt.row.end));
    EXPECT_EQ(text::decode(*tokenizer, ids), document);
    EXPECT_EQ(prompt.spans.size(), ids.size());
    EXPECT_LT(prompt.row.end, prompt.row.ids.size());
    const std::vector<int32_t> question(
        prompt.row.ids.begin() + static_cast<std::ptrdiff_t>(prompt.row.end),
        prompt.row.ids.begin() + static_cast<std::ptrdiff_t>(prompt.row.question_end));
    EXPECT_EQ(text::decode(*tokenizer, question), " Who?");
  }
}

TEST_F(QuitoModel, DocumentsLongerThanTheWindowAreReadInPieces) {
  std::string text;
  for (int i = 0; i < 1500; ++i) {
    text += "word" + std::to_string(i % 7) + " é ";
  }
  const std::string_view document = text;
  const auto weighted = weigh_documents(tiny_.ctx, tiny_.llama, *tiny_.tokenizer,
                                        std::span(&document, 1), "why?", {});
  uint64_t before = 0;
  for (const ByteSpan& span : weighted[0].spans) {
    EXPECT_GE(span.begin, before);
    before = span.begin;
  }
  EXPECT_EQ(weighted[0].spans.back().end, text.size() - 1);
  const std::string question(30000, 'x');
  EXPECT_THROW(weigh_documents(tiny_.ctx, tiny_.llama, *tiny_.tokenizer, std::span(&document, 1),
                               question, {}),
               Error);
}

// The text is read once and every question behind it: the weights are those of reading both whole,
// and bit for bit those of a question alone.
TEST_F(QuitoModel, QuestionsShareTheirText) {
  std::string text;
  for (int i = 0; i < 500; ++i) {
    text += "Item" + std::to_string(i * i % 97) + " was number " + std::to_string(i % 11) + ". ";
  }
  const std::vector<std::string_view> questions{"Which item?", "What number was it, and why?", ""};
  const std::string_view document = text;
  const auto together =
      weigh_questions(tiny_.ctx, tiny_.llama, *tiny_.tokenizer, document, questions, {});
  ASSERT_GT(together[0].weights.size(), 512u);
  for (size_t q = 0; q < questions.size(); ++q) {
    const auto whole = weigh_documents(tiny_.ctx, tiny_.llama, *tiny_.tokenizer,
                                       std::span(&document, 1), questions[q], {})[0];
    ASSERT_EQ(whole.spans, together[q].spans);
    for (size_t i = 0; i < whole.weights.size(); ++i) {
      EXPECT_NEAR(whole.weights[i], together[q].weights[i], 1e-7);
    }
    const auto alone = weigh_questions(tiny_.ctx, tiny_.llama, *tiny_.tokenizer, document,
                                       std::span(&questions[q], 1), {})[0];
    EXPECT_EQ(alone.weights, together[q].weights);
  }
  EXPECT_NE(together[0].weights, together[1].weights);
  const RowPrompt one{.ids = {1, 2, 3}, .begin = 0, .end = 2};
  const RowPrompt other{.ids = {1, 4, 3}, .begin = 0, .end = 2};
  const std::vector<RowPrompt> both{one, other};
  EXPECT_THROW(attention_rows_behind(tiny_.ctx, tiny_.llama, both, {}), Error);
}

TEST_F(QuitoModel, FilteredTextIsTheDocumentsAndFits) {
  const std::string text =
      "One thing is sure. Nobody saw the whale that night! Was it there? Perhaps it was.";
  const std::string_view document = text;
  const auto weighted = weigh_documents(tiny_.ctx, tiny_.llama, *tiny_.tokenizer,
                                        std::span(&document, 1), "Who?", {});
  const auto count = [&](std::string_view t) {
    return static_cast<int64_t>(tiny_.tokenizer->encode(t, {.add_special = false}).ids.size());
  };
  for (const auto filter :
       {QuitoFilter::phrase, QuitoFilter::sentence, QuitoFilter::dynamic_sentence}) {
    for (const int64_t budget : {0, 3, 9, 500}) {
      const QuitoText out =
          filter_document(text, weighted[0], {}, count, {.filter = filter, .token_budget = budget});
      EXPECT_LE(count(out.text), budget);
      std::string from_spans;
      for (const ByteSpan& span : out.spans) {
        from_spans += text.substr(span.begin, span.end - span.begin);
      }
      EXPECT_EQ(from_spans, out.text);
      if (budget == 500) {
        EXPECT_EQ(out.text, text);
      }
    }
  }
}

TEST_F(QuitoModel, HeadsAndTheFirstTokenAreChoices) {
  const std::string_view document = "One thing is sure.";
  const auto weigh = [&](const QuitoOptions& options) {
    return weigh_documents(tiny_.ctx, tiny_.llama, *tiny_.tokenizer, std::span(&document, 1),
                           "Who?", options)[0]
        .weights;
  };
  const auto shares = weigh({.weights = QuitoWeights::shares, .leaves_out_first_token = true});
  EXPECT_EQ(shares.front(), 0);
  EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 1, 1e-12);
  std::vector<HeadChoice> all;
  for (int32_t h = 0; h < 4; ++h) {
    all.push_back({1, h});
  }
  EXPECT_EQ(weigh({.rows = {.heads = all}}), weigh({}));
  EXPECT_NE(weigh({.rows = {.heads = {{0, 2}}}}), weigh({}));
  EXPECT_THROW(weigh({.rows = {.heads = {{2, 0}}}}), Error);
}

// The question's row is the mean of what each of its tokens sees at the end of a prompt.
TEST_F(QuitoModel, TheWholeQuestionMayAsk) {
  const QuitoPrompt prompt =
      make_quito_prompt(*tiny_.tokenizer, std::nullopt, "One thing is sure.", "Who was it?");
  const RowPrompt& whole = prompt.row;
  const size_t n = whole.end - whole.begin;
  std::vector<double> mean(n);
  for (size_t asker = whole.end; asker < whole.question_end; ++asker) {
    RowPrompt cut = whole;
    cut.ids.resize(asker + 1);
    const auto row = attention_rows(tiny_.ctx, tiny_.llama, std::span(&cut, 1), {})[0];
    for (size_t i = 0; i < n; ++i) {
      mean[i] += row[i] / static_cast<double>(whole.question_end - whole.end);
    }
  }
  for (const bool is_behind : {false, true}) {
    const AttentionRowOptions options{.asking = Asking::question};
    const auto rows =
        is_behind ? attention_rows_behind(tiny_.ctx, tiny_.llama, std::span(&whole, 1), options)
                  : attention_rows(tiny_.ctx, tiny_.llama, std::span(&whole, 1), options);
    for (size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(rows[0][i], mean[i], 1e-6);
    }
  }
}

TEST(MeanOfHeads, HeadsMayCountEqually) {
  const std::vector<double> rows{0.25, 0.75, 0.03125, 0.03125};  // exact in binary
  EXPECT_EQ(mean_of_heads(rows, 2, false), (std::vector<double>{0.140625, 0.390625}));
  EXPECT_EQ(mean_of_heads(rows, 2, true), (std::vector<double>{0.375, 0.625}));
}

}  // namespace
}  // namespace offbook::compress
