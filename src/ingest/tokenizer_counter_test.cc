// With the real sentence encoder's tokeniser, found under the environment's OFFBOOK_MODELS.
#include "src/ingest/tokenizer_counter.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "src/ingest/folder.h"
#include "src/ingest/passages.h"
#include "src/ingest/segments.h"
#include "src/text/tokenizer_files.h"

namespace offbook::ingest {
namespace {

TEST(TokenizerCounter, CountsAsTheTokenizersDoAndPassagesFitTheWindow) {
  const char* models = std::getenv("OFFBOOK_MODELS");
  ASSERT_NE(models, nullptr) << "set OFFBOOK_MODELS to the directory of the default models";
  const auto loaded =
      text::load_tokenizer(real_file_system(), std::filesystem::path(models) / "all-minilm-l6-v2");
  const TokenizerCounter counter(*loaded.tokenizer, *loaded.tokenizer);
  EXPECT_EQ(counter.encoder_tokens(""), 2);
  EXPECT_EQ(counter.encoder_tokens("Hello, world"), 5);
  EXPECT_EQ(counter.base_tokens("Hello, world"), 3);
  EXPECT_EQ(counter.tokenize_base("Hello, world").spans[2], (ByteSpan{7, 12}));

  const FolderListing listing = list_folder("examples/documents", {});
  size_t passages = 0;
  read_files("examples/documents", listing.files, {}, [&](const FoundFile&, FileOutcome outcome) {
    const Document& document = std::get<ReadResult>(outcome).document;
    const auto cut = cut_passages(document, {}, counter);
    for (const Passage& passage : cut) {
      EXPECT_LE(passage.encoder_tokens, 256);
      EXPECT_LE(passage.base_tokens, 200);
    }
    for (const Segment& segment : make_segments(document, cut, counter)) {
      EXPECT_LE(segment.tokens.size(), 1536u);
    }
    passages += cut.size();
  });
  EXPECT_GT(passages, 200u);
}

}  // namespace
}  // namespace offbook::ingest
