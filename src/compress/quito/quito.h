// QUITO (arXiv 2408.00274): keeps the words of a document that the last token of a prompt with
// document and question attends to. METHOD.md beside this file.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/compress/quito/attention_row.h"
#include "src/compress/quito/words.h"

namespace offbook::compress {

enum class QuitoWeights : uint8_t {
  published,  // a second softmax over the document's part of the row: nearly uniform, same order
  shares,     // divided by their sum
};

struct QuitoOptions {
  QuitoFilterOptions filter;
  AttentionRowOptions rows;
  QuitoWeights weights = QuitoWeights::published;
  // The first token of a document often holds attention that goes nowhere else (a sink); true: its
  // weight is taken from no word. A row of its own in tables.
  bool leaves_out_first_token = false;
  // The model's; absent: the prompt is plain text.
  std::optional<text::ChatFormat> chat_format;
  // Documents share a pass as long as their prompts have no more tokens together.
  int32_t rows_per_pass = 4096;
};

// A document's tokens with their (normalised) weights: what costs time.
struct WeightedText {
  std::vector<ByteSpan> spans;
  std::vector<double> weights;
};

// Every document by itself with the question, several in a pass. One longer than the model's window
// is read in pieces of equal length. White space at a document's ends has no tokens here.
std::vector<WeightedText> weigh_documents(const backend::ExecutionContext& ctx,
                                          const model::Llama& model,
                                          const text::Tokenizer& tokenizer,
                                          std::span<const std::string_view> documents,
                                          std::string_view question, const QuitoOptions& options);

// One document with several questions, in their order: its text is read once, and each question
// behind it (attention_rows_behind()); short ones are read question by question. What a question
// gets does not depend on the others, on the CPU bit for bit.
std::vector<WeightedText> weigh_questions(const backend::ExecutionContext& ctx,
                                          const model::Llama& model,
                                          const text::Tokenizer& tokenizer,
                                          std::string_view document,
                                          std::span<const std::string_view> questions,
                                          const QuitoOptions& options);

struct QuitoText {
  // With rules `exact`, the kept words as they stand in the document, each with the white space in
  // front of it; else joined by single spaces, as published.
  std::string text;
  std::vector<ByteSpan> spans;  // neighbours joined; in the order of the text
  std::vector<int32_t> words;   // the kept ones
};

// `sentences`: spans in the document; empty: ingest::split_sentences(). `count` are the reader's
// tokens and bind with a token budget: what is kept never counts more (words are dropped until it
// fits).
QuitoText filter_document(std::string_view document, const WeightedText& weighted,
                          std::span<const ByteSpan> sentences,
                          const std::function<int64_t(std::string_view)>& count,
                          const QuitoFilterOptions& options);

}  // namespace offbook::compress
