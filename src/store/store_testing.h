// Small documents and corpora for the tests of this folder.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "src/store/corpus.h"

namespace offbook::store {

// A temporary directory that goes with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = ::testing::TempDir() + "/offbook_store_XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A document whose passages are the given lines.
inline Document make_document(const std::string& id, const std::vector<std::string>& lines) {
  Document document{
      .id = id, .path = id + ".txt", .title = id, .media_type = "text/plain", .modified_ns = 5};
  for (const std::string& line : lines) {
    document.text += line + "\n";
  }
  document.content_hash = std::to_string(std::hash<std::string>{}(document.text));
  document.source_bytes = document.text.size();
  document.sections = {{.span = {0, document.text.size()}, .headings = {"Top"}, .page = 1}};
  return document;
}

inline std::vector<Passage> make_passages(const Document& document) {
  std::vector<Passage> passages;
  for (size_t begin = 0; begin < document.text.size();) {
    const size_t end = document.text.find('\n', begin);
    passages.push_back({.document_id = document.id,
                        .ordinal = static_cast<int>(passages.size()),
                        .span = {begin, end},
                        .headings = {"Top"},
                        .page = 1,
                        .text = document.text.substr(begin, end - begin),
                        .base_tokens = 4,
                        .encoder_tokens = 5});
    begin = end + 1;
  }
  return passages;
}

inline int64_t put_document(Corpus& corpus, int64_t generation, const std::string& id,
                            const std::vector<std::string>& lines) {
  const Document document = make_document(id, lines);
  std::vector<Passage> passages = make_passages(document);
  return corpus.documents().put(generation, document, passages);
}

inline Segment make_segment(const Document& document) {
  Segment segment{.document_id = document.id, .span = {0, document.text.size()}};
  for (size_t i = 0; i < document.text.size(); ++i) {
    segment.tokens.push_back(document.text[i]);
    segment.token_spans.push_back({i, i + 1});
  }
  return segment;
}

inline CompressedContext make_text_context(const Segment& segment) {
  return {.method = "truncate",
          .base = {.model = std::string(32, 'b'), .family = "f"},
          .kind = ContextKind::text,
          .text = "kept",
          .slot_spans = {{segment.span.begin, segment.span.begin + 4}},
          .tokens_before = static_cast<int>(segment.tokens.size()),
          .tokens_after = 4,
          .ratio = 8};
}

inline ContextRecipe make_recipe() {
  return {.method = "truncate", .base = {.model = std::string(32, 'b'), .family = "f"}, .ratio = 8};
}

inline VectorBlock make_vectors(int64_t document, int64_t count) {
  VectorBlock block{.encoder = std::string(32, 'e'),
                    .ids = Tensor::empty(Dtype::i64, {count}),
                    .vectors = Tensor::zeros(Dtype::bf16, {count, 8})};
  for (int64_t i = 0; i < count; ++i) {
    block.ids.data<int64_t>()[i] = (document << kOrdinalBits) + i;
    block.vectors.data<uint16_t>()[i * 8] = static_cast<uint16_t>(document + i);
  }
  return block;
}

// Code and message of the offbook::Error a call throws.
template <typename Call>
std::pair<ErrorCode, std::string> error_of(Call call) {
  try {
    call();
  } catch (const Error& e) {
    return {e.code(), e.what()};
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace offbook::store
