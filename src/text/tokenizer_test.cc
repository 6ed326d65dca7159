// What holds for every tokeniser: spans, decoding, streaming, special tokens, long words, threads.
#include "src/text/tokenizer.h"

#include <chrono>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/base/file_system.h"
#include "src/text/bpe.h"
#include "src/text/merge.h"
#include "src/text/sentence_piece.h"
#include "src/text/spm.h"
#include "src/text/tokenizer_json.h"

namespace offbook::text {
namespace {

std::unique_ptr<Tokenizer> open_fixture(const std::string& name) {
  const std::filesystem::path path = "tests/golden/tokenizers/" + name;
  const auto file = real_file_system().open(path);
  if (path.extension() == ".json") {
    return read_tokenizer_json(file->bytes(), path.string());
  }
  return make_sentence_piece_tokenizer(
      {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()});
}

class AnyTokenizer : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = open_fixture(GetParam());
};
INSTANTIATE_TEST_SUITE_P(All, AnyTokenizer,
                         testing::Values("llama3.json", "qwen2.json", "smollm.json", "gpt2.json",
                                         "wordpiece.json", "llama2.json", "sp_bpe.model",
                                         "sp_unigram.model"),
                         [](const auto& info) {
                           const std::string name = info.param;
                           return name.substr(0, name.find('.'));
                         });

TEST_P(AnyTokenizer, SpansOfPlainTextSpellTheText) {
  const std::string text = "The committee met on the first day.";
  const Encoding encoding = tokenizer_->encode(text, {.add_special = false});
  std::string spelled, wanted;
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto& span = encoding.spans[i];
    std::string piece = decode(*tokenizer_, std::vector<int32_t>{encoding.ids[i]});
    std::string source = text.substr(span.begin, span.end - span.begin);
    for (std::string* s : {&piece, &source}) {
      std::erase(*s, ' ');
    }
    spelled += piece;
    wanted += source;
  }
  EXPECT_EQ(encoding.spans.back().end, text.size());
  if (std::string_view(GetParam()) != "wordpiece.json") {  // lower case
    EXPECT_EQ(spelled, wanted);
  }
}

TEST_P(AnyTokenizer, StreamGivesWholeCharactersAndTheDecodedText) {
  const std::string text = "Grüße 中文 😀👍🏽 end";
  const auto ids = tokenizer_->encode(text, {.add_special = false}).ids;
  StreamDecoder stream(*tokenizer_);
  std::string streamed;
  for (const int32_t id : ids) {
    const std::string part = stream.push(id);
    EXPECT_EQ(find_invalid_utf8(part), std::string::npos);
    EXPECT_EQ(part.find("�"), std::string::npos);
    streamed += part;
  }
  streamed += stream.finish();
  EXPECT_EQ(streamed, decode(*tokenizer_, ids));
  if (std::string_view(GetParam()) != "wordpiece.json") {
    EXPECT_EQ(streamed, text);
  }
}

TEST_P(AnyTokenizer, CutCharacterIsReplacedAtTheEnd) {
  const auto ids = tokenizer_->encode("😀", {.add_special = false}).ids;
  if (ids.size() < 3) {
    return;  // an unknown token
  }
  EXPECT_EQ(decode(*tokenizer_, std::span(ids).first(ids.size() - 1)), "�");
}

TEST_P(AnyTokenizer, BosAndEosHaveEmptySpans) {
  const Encoding with = tokenizer_->encode("text", {});
  const Encoding without = tokenizer_->encode("text", {.add_special = false});
  const SpecialIds& special = tokenizer_->special();
  EXPECT_EQ(with.ids.size(), without.ids.size() + special.add_bos + special.add_eos);
  if (special.add_bos) {
    EXPECT_EQ(with.ids.front(), special.bos);
    EXPECT_EQ(with.spans.front(), (ByteSpan{0, 0}));
  }
}

TEST_P(AnyTokenizer, IdsOutsideTheVocabularyAreRefused) {
  std::string out;
  EXPECT_THROW(tokenizer_->append_bytes(-1, out), Error);
  EXPECT_THROW(tokenizer_->append_bytes(tokenizer_->vocab_size(), out), Error);
}

TEST_P(AnyTokenizer, EmptyTextAndEveryByte) {
  EXPECT_TRUE(tokenizer_->encode("", {.add_special = false}).ids.empty());
  std::string bytes(256, '\0');
  std::iota(bytes.begin(), bytes.end(), 0);
  for (const auto& span : tokenizer_->encode(bytes, {}).spans) {
    EXPECT_LE(span.end, bytes.size());
  }
}

TEST_P(AnyTokenizer, OneTokenizerServesManyThreads) {
  const std::string text = "Several threads, one cache of words: 12345 words, words, words.";
  const auto wanted = tokenizer_->encode(text, {}).ids;
  std::vector<std::thread> threads;
  std::atomic<int> unequal{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        tokenizer_->encode(std::to_string(i * t) + " other words " + std::to_string(i), {});
        unequal += tokenizer_->encode(text, {}).ids != wanted;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(unequal, 0);
}

// Near-linear: ten times the text takes far less than a hundred times as long.
TEST_P(AnyTokenizer, LongTextsWithoutSpacesStayNearLinear) {
  using Clock = std::chrono::steady_clock;
  for (const std::string unit : {"a", "abcdefghij", "中", " ", "1", "!?", "\n ", "e\u0301"}) {
    const auto seconds = [&](size_t size) {
      std::string text;
      while (text.size() < size) {
        text += unit;
      }
      const auto start = Clock::now();
      tokenizer_->encode(text, {});
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    const double small = seconds(20'000);
    EXPECT_LT(seconds(200'000), 40 * small + 0.5) << unit;
  }
}

TEST(Spans, InvalidBytesKeepTheirPlace) {
  const auto tokenizer = open_fixture("gpt2.json");
  const std::string text =
      "a\xff"
      "b\xf0\x9f\x98"
      "c";
  const Encoding encoding = tokenizer->encode(text, {});
  for (const auto& span : encoding.spans) {
    EXPECT_LE(span.end, text.size());
  }
  EXPECT_EQ(encoding.spans.back(), (ByteSpan{6, 7}));
  EXPECT_EQ(decode(*tokenizer, encoding.ids), "a�b�c");
}

TEST(Spans, WordPieceNamesTheWordsItCleaned) {
  const auto tokenizer = open_fixture("wordpiece.json");
  const std::string text = " Caf\xc3\xa9 (\xe4\xb8\xad) ";
  const Encoding encoding = tokenizer->encode(text, {.add_special = false});
  EXPECT_EQ(encoding.spans.front().begin, 1u);
  EXPECT_EQ(encoding.spans.back(), (ByteSpan{11, 12}));
}

TEST(AddedTokens, ControlTokensNeedParseSpecial) {
  const auto tokenizer = open_fixture("gpt2.json");
  const auto id = tokenizer->vocabulary().find("<|end|>");
  ASSERT_TRUE(id);
  const auto has_id = [&](EncodeOptions options) {
    const auto ids = tokenizer->encode("x<|end|>y", options).ids;
    return std::find(ids.begin(), ids.end(), *id) != ids.end();
  };
  EXPECT_TRUE(has_id({.parse_special = true}));
  EXPECT_FALSE(has_id({.parse_special = false}));
}

TEST(AddedTokens, UserTokensCanBeLeftInTheText) {
  const auto tokenizer = open_fixture("qwen2.json");
  const auto id = tokenizer->vocabulary().find("<think>");
  ASSERT_TRUE(id);
  const auto has_id = [&](EncodeOptions options) {
    const auto ids = tokenizer->encode("x <think> y", options).ids;
    return std::find(ids.begin(), ids.end(), *id) != ids.end();
  };
  EXPECT_TRUE(has_id({}));
  EXPECT_FALSE(has_id({.parse_added = false}));
}

TEST(AddedTokens, LongestOfSeveralIsFound) {
  const AddedTokens tokens({{.content = "<a>", .id = 1},
                            {.content = "<a>b", .id = 2},
                            {.content = "w", .id = 3, .is_single_word = true}});
  const auto sections = tokens.split("x<a>b<a>c w ww", {});
  ASSERT_EQ(sections.size(), 6u);
  EXPECT_EQ(sections[1].token->id, 2);
  EXPECT_EQ(sections[2].token->id, 1);
  EXPECT_EQ(sections[4].token->id, 3);
}

TEST(ByteLetters, AreOneToOne) {
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(letter_to_byte(byte_to_letter(static_cast<uint8_t>(byte))), byte);
  }
  EXPECT_EQ(byte_to_letter(' '), 0x120u);
  EXPECT_FALSE(letter_to_byte(' '));
  EXPECT_FALSE(letter_to_byte(0x4E00));
}

// The scan for short words and the heap for long ones agree on random merge tables.
TEST(Merge, ScanAndHeapAgree) {
  uint32_t state = 12345;
  const auto random = [&](uint32_t below) {
    return (state = state * 1664525 + 1013904223) % below;
  };
  for (int round = 0; round < 200; ++round) {
    MergeTable table(60);
    for (uint32_t i = 0; i < 60; ++i) {
      const auto id = static_cast<int32_t>(4 + random(12));
      table.insert(static_cast<int32_t>(random(16)), static_cast<int32_t>(random(16)),
                   {id, random(20)});
    }
    std::vector<Symbol> a;
    for (uint32_t i = 0; i < 30; ++i) {
      a.push_back({static_cast<int32_t>(random(4)), i, i + 1});
    }
    std::vector<Symbol> b = a;
    auto find = [&](const Symbol& l, const Symbol& r) { return table.find(l.id, r.id); };
    internal::merge_by_scan(a, find);
    internal::merge_by_heap(b, find);
    ASSERT_EQ(a.size(), b.size()) << "round " << round;
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].id, b[i].id);
      EXPECT_EQ(a[i].end, b[i].end);
    }
  }
}

TEST(Spec, ContradictionsAreCorrupt) {
  EXPECT_THROW(make_bpe_tokenizer({.pieces = {"a"}, .merges = {{{"a", "b"}}}}), Error);
  EXPECT_THROW(make_bpe_tokenizer({.pieces = {"a"}, .special = {.bos = 1}}), Error);
  EXPECT_THROW(make_bpe_tokenizer({.pieces = {"a"}, .types = {TokenType::normal, TokenType::byte}}),
               Error);
  EXPECT_THROW(make_bpe_tokenizer({.pieces = {"a"}, .added = {{.content = "b", .id = 7}}}), Error);
  EXPECT_THROW(make_spm_tokenizer({.pieces = {"a"}, .scores = {0}}), Error);  // no unknown token
  EXPECT_THROW(make_spm_tokenizer({.pieces = {"a"}, .scores = {0, 1}, .special = {.unk = 0}}),
               Error);
  EXPECT_THROW(make_spm_tokenizer({.pieces = {"a"}, .scores = {NAN}, .special = {.unk = 0}}),
               Error);
  EXPECT_THROW(make_sentence_piece_tokenizer("not a model"), Error);
}

}  // namespace
}  // namespace offbook::text
