// What the reader is given of a document: every method's way, at several budgets at once.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/compress/compressor.h"
#include "src/evaluate/cases.h"
#include "src/evaluate/cell.h"
#include "src/evaluate/document_index.h"

namespace offbook::evaluate {

// Kept text, or slots in its place.
struct MadeContext {
  std::string text;
  std::vector<compress::ContextPart> parts;     // instead of text, for learned methods
  std::string key;                              // equal keys, equal content
  const model::LoraAdapter* adapter = nullptr;  // under which the reader must read
  int64_t source_tokens = 0;                    // of the document
  int64_t kept_tokens = 0;                      // tokens, or slots (the sink not counted)
  std::vector<ByteSpan> spans;                  // of the document, where they are known
  bool is_cut = false;                          // the window had no room for all of it
  bool does_not_fit = false;                    // … and the task does not allow a cut
  std::optional<double> kept_answer;            // 1: an accepted answer stands in `text`
  int64_t cited = 0, supporting = 0;            // of retrieved passages
  bool is_online = false;                       // it depends on the question
  double seconds = 0;                           // that making it took when it was asked for …
  double offline_seconds = 0;                   // … and before: work that questions share
  double flops = 0;
};

struct ContextOptions {
  retrieve::Mode retriever = retrieve::Mode::hybrid;
  bool best_last = false;     // retrieved passages: the best stands next to the question
  int64_t passage_words = 0;  // > 0: passages of so many words; 0: ours, at most 200 tokens
  uint64_t seed = 1;
};

// Everything a context is made with; all of it must outlive the maker.
struct ContextTools {
  backend::ExecutionContext ctx;
  compress::BaseModel base;
  model::SentenceEncoder* encoder = nullptr;  // null: passages are ranked by words
  // Learned methods whose weights were given.
  std::map<std::string, const compress::Compressor*> learned;
};

// Makes contexts and keeps what cells share (tokens, rankings, scores) for the last document. Not
// thread-safe.
class ContextMaker {
 public:
  ContextMaker(const ContextTools& tools, const ContextOptions& options);
  ~ContextMaker();

  // One for every cell; the cells have one method and one top_k, `rooms` the tokens that the prompt
  // leaves for the context. Cost: a query-aware method reads the text once for all cells.
  std::vector<MadeContext> make(const TaskData& data, const Case& c,
                                const std::vector<const Cell*>& cells,
                                const std::vector<int64_t>& rooms);

  // What names the way contexts are made, for keys of predictions.
  std::string signature(const Cell& cell) const;

 private:
  struct Text;
  Text& text_of(const CaseDocument& document);
  const DocumentIndex& index_of(Text& text, int64_t passage_tokens);
  std::vector<ByteSpan> cut_passages(const Text& text, int64_t passage_tokens) const;
  const compress::Compressor& compressor(const std::string& method);

  MadeContext whole(const Task& task, const Text& text, int64_t room) const;
  MadeContext retrieved(const Case& c, Text& text, const Cell& cell, int64_t room);
  std::vector<MadeContext> compressed(const Task& task, const Case& c, Text& text,
                                      const std::vector<const Cell*>& cells,
                                      const std::vector<int64_t>& rooms);
  const std::vector<CompressedContext>& contexts_of(const compress::Compressor& method,
                                                    const Case& c, Text& text,
                                                    const std::vector<const Cell*>& cells);
  void finish(const Case& c, MadeContext& made) const;

  const ContextTools tools_;
  ContextOptions options_;
  PassageWords words_;
  double index_seconds_ = 0;  // of indexes made since the last context
  std::map<std::string, std::unique_ptr<compress::Compressor>> made_;
  std::unique_ptr<Text> text_;
};

}  // namespace offbook::evaluate
