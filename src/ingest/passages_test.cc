#include "src/ingest/passages.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/ingest/reader.h"
#include "src/ingest/segments.h"
#include "src/ingest/sentences.h"
#include "src/ingest/test_files.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

using testing::ElementsAre;

// Counts like real tokenisers do: the base one takes words in pieces of up to five bytes (a space
// belongs to the word behind it, line ends are tokens), the encoder in pieces of three characters.
class PieceCounter final : public TokenCounter {
 public:
  BaseTokens tokenize_base(std::string_view text) const override {
    BaseTokens out;
    for (size_t at = 0; at < text.size();) {
      size_t end = at + 1;
      while (text[at] != '\n' && end < text.size() && end - at < 5 && text[end] != ' ' &&
             text[end] != '\n') {
        ++end;
      }
      out.ids.push_back(static_cast<unsigned char>(text[at]));
      out.spans.push_back({at, end});
      at = end;
    }
    return out;
  }
  int encoder_tokens(std::string_view text) const override {
    int tokens = 2, in_word = 0;
    for (size_t at = 0; at < text.size(); at += character_at(text, at).length) {
      in_word = is_ascii_space(text[at]) ? 0 : in_word + 1;
      tokens += in_word % 3 == 1 ? 1 : 0;
    }
    return tokens;
  }
};

const PieceCounter kCounter;

std::vector<std::string> sentences_of(std::string_view text) {
  std::vector<std::string> out;
  for (const ByteSpan span : split_sentences(text)) {
    out.emplace_back(text.substr(span.begin, span.end - span.begin));
  }
  return out;
}

TEST(Sentences, EndAtStopsButNotInsideAbbreviationsAndNumbers) {
  EXPECT_THAT(sentences_of("Mr. Lee paid 3.50 to J. Doe, e.g. on Monday. It was \"late.\" He left! "
                           "See No. 5 there. No. Really?"),
              ElementsAre("Mr. Lee paid 3.50 to J. Doe, e.g. on Monday.", "It was \"late.\"",
                          "He left!", "See No. 5 there.", "No.", "Really?"));
  EXPECT_THAT(sentences_of("\"What?\" he said. (Then more.) End"),
              ElementsAre("\"What?\" he said.", "(Then more.)", "End"));
  EXPECT_THAT(sentences_of("これは文。次の文！終"), ElementsAre("これは文。", "次の文！", "終"));
}

TEST(Sentences, LinesEndThemUnlessThePageWasWrapped) {
  EXPECT_THAT(sentences_of("Chair: order\nLee: yes"), ElementsAre("Chair: order", "Lee: yes"));
  const std::string wrapped =
      "The committee met on Monday and talked about the size of\n"
      "Classes in the primary schools of the city and the ideas\nof parents.";
  EXPECT_THAT(sentences_of(wrapped), ElementsAre(wrapped));
}

Document document_of(const std::string& path, const std::string& bytes) {
  return read_bytes(path, bytes).document;
}

std::string repeat(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) {
    out += text;
  }
  return out;
}

TEST(Passages, FollowSectionsAndGiveLoneHeadingsToTheirFirstChild) {
  const Document document = document_of(
      "a.md", "# Guide\n## One\nText one.\n\n## Two\nText two.\n# Alone\n# Last\nend\n");
  const auto passages = cut_passages(document, {}, kCounter);
  ASSERT_EQ(passages.size(), 4u);
  EXPECT_EQ(passages[0].text, "Guide\n\nOne\n\nText one.");
  EXPECT_THAT(passages[0].headings, ElementsAre("Guide", "One"));
  EXPECT_EQ(passages[1].text, "Two\n\nText two.");
  EXPECT_EQ(passages[2].text, "Alone");
  EXPECT_THAT(passages[3].headings, ElementsAre("Last"));
}

TEST(Passages, EndAtParagraphsWhereThereAreSome) {
  const std::string paragraph = repeat("These are five words here. ", 6);
  const Document document =
      document_of("a.txt", paragraph + "\n\n" + paragraph + "\n\n" + paragraph);
  PassageOptions options{.size_tokens = 80, .overlap_tokens = 0, .encoder_window = 256};
  const auto passages = cut_passages(document, options, kCounter);
  ASSERT_EQ(passages.size(), 3u);
  for (const Passage& passage : passages) {
    EXPECT_EQ(passage.text, trim(paragraph));
  }
}

TEST(Passages, RepeatWholeSentencesAsOverlap) {
  const Document document = document_of("a.txt", repeat("Six tokens are in this one. ", 100));
  const auto passages =
      cut_passages(document, {.size_tokens = 100, .overlap_tokens = 20}, kCounter);
  ASSERT_GT(passages.size(), 3u);
  for (size_t i = 1; i < passages.size(); ++i) {
    const ByteSpan shared = {passages[i].span.begin, passages[i - 1].span.end};
    ASSERT_LT(shared.begin, shared.end);
    const auto text = document.text.substr(shared.begin, shared.end - shared.begin);
    EXPECT_TRUE(text.starts_with("Six") && text.ends_with("one.")) << text;
    EXPECT_LE(kCounter.base_tokens(text), 20);
  }
}

TEST(Passages, RefuseOptionsOutOfRange) {
  const Document document = document_of("a.txt", "x");
  EXPECT_THROW(cut_passages(document, {.size_tokens = 2000}, kCounter), Error);
  EXPECT_THROW(cut_passages(document, {.overlap_tokens = 100}, kCounter), Error);
  EXPECT_THROW(cut_passages(document, {.encoder_window = 10}, kCounter), Error);
}

TEST(Passages, OneLongWordIsCutInBoundedTime) {
  const Document document = document_of("a.txt", repeat("é", 2 << 20));
  const auto passages = cut_passages(document, {}, kCounter);
  EXPECT_GT(passages.size(), 1000u);
  for (const Passage& passage : passages) {
    ASSERT_EQ(valid_utf8_prefix(passage.text), passage.text.size());
  }
}

std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> kPieces = {
      "word ", "a",   "Mr. ",     "end. ",    "\n",  "\n\n",   "日本語。",
      "é",     "😀",   "\xC2\xA0", "# H\n",    "- i", "x=1;",   "\n\n# ",
      "   ",   "?! ", "\t",       "longword", "\f",  "No. 5 ", "\u200B"};
  std::string out;
  const size_t pieces = random() % 2000;
  for (size_t i = 0; i < pieces; ++i) {
    const std::string& piece = kPieces[random() % kPieces.size()];
    out += repeat(piece, random() % 40 == 0 ? 60 : 1);
  }
  return out + ".";
}

void expect_covered(const Document& document, const std::vector<Passage>& passages) {
  uint64_t covered = 0;
  for (const Passage& passage : passages) {
    if (passage.span.begin > covered) {
      EXPECT_TRUE(is_blank_text(
          std::string_view(document.text).substr(covered, passage.span.begin - covered)))
          << "lost before " << passage.span.begin;
    }
    covered = std::max(covered, passage.span.end);
  }
  EXPECT_TRUE(is_blank_text(std::string_view(document.text).substr(covered)));
}

TEST(PassagesProperty, InvariantsHoldForRandomDocuments) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 150; ++round) {
    const Document document =
        document_of(random() % 2 == 0 ? "a.txt" : "a.md", random_text(random));
    PassageOptions options;
    options.size_tokens = 16 + static_cast<int>(random() % 200);
    options.overlap_tokens = static_cast<int>(random() % (options.size_tokens / 2));
    options.encoder_window = 18 + static_cast<int>(random() % 200);
    const auto passages = cut_passages(document, options, kCounter);
    expect_covered(document, passages);
    for (size_t i = 0; i < passages.size(); ++i) {
      const Passage& p = passages[i];
      ASSERT_EQ(p.ordinal, static_cast<int>(i));
      ASSERT_EQ(p.text, document.text.substr(p.span.begin, p.span.end - p.span.begin));
      ASSERT_EQ(valid_utf8_prefix(p.text), p.text.size());
      ASSERT_EQ(trim(p.text), p.text);
      ASSERT_EQ(p.base_tokens, kCounter.base_tokens(p.text));
      ASSERT_EQ(p.encoder_tokens, kCounter.encoder_tokens(p.text));
      ASSERT_LE(p.base_tokens, options.size_tokens);
      ASSERT_LE(p.encoder_tokens, options.encoder_window);
      ASSERT_TRUE(i == 0 || (passages[i - 1].span.begin < p.span.begin &&
                             passages[i - 1].span.end < p.span.end));
    }
    const auto again = cut_passages(document, options, kCounter);
    ASSERT_EQ(again.size(), passages.size());
  }
}

TEST(SegmentsProperty, HoldEveryPassageOnceAndTokenSpansPointIntoTheText) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 50; ++round) {
    const Document document = document_of("a.md", random_text(random));
    const auto passages =
        cut_passages(document, {.size_tokens = 100, .overlap_tokens = 20}, kCounter);
    int next = 0;
    for (const Segment& segment : make_segments(document, passages, kCounter, 300)) {
      ASSERT_EQ(segment.first_passage, next);
      next = segment.last_passage + 1;
      ASSERT_LE(segment.tokens.size(), 300u);
      ASSERT_EQ(segment.tokens.size(), segment.token_spans.size());
      ASSERT_EQ(segment.span.begin, passages[segment.first_passage].span.begin);
      ASSERT_EQ(segment.span.end, passages[segment.last_passage].span.end);
      ASSERT_EQ(segment.token_spans.front().begin, segment.span.begin);
      ASSERT_EQ(segment.token_spans.back().end, segment.span.end);
    }
    ASSERT_EQ(next, static_cast<int>(passages.size()));
  }
}

TEST(Segments, FillUpToTheLimit) {
  const Document document = document_of("a.txt", repeat("Six tokens are in this one. ", 1000));
  const auto passages = cut_passages(document, {}, kCounter);
  const auto segments = make_segments(document, passages, kCounter);
  size_t tokens = 0;
  for (const Segment& segment : segments) {
    tokens += segment.tokens.size();
  }
  EXPECT_GT(tokens, (segments.size() - 1) * 1200);
  EXPECT_THROW(make_segments(document, passages, kCounter, 10), Error);
}

}  // namespace
}  // namespace offbook::ingest
