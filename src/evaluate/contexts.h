// What the reader is given of a document: every method's way, at several budgets at once.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
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
  bool is_numbered = false;   // … and "[1] " and so on stands before each
  int64_t passage_words = 0;  // > 0: passages of so many words; 0: ours, at most 200 tokens
  double slot_ratio = 16;     // `picked`: of the slots that its budget is filled with
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

// Cases of one task and how they are to be read; rooms: by case, by cell, the tokens that the
// prompt leaves for the context.
struct ContextWish {
  const TaskData* data = nullptr;
  std::vector<size_t> cases;       // indices; those of one document follow each other
  std::vector<const Cell*> cells;  // of one method and one top_k
  std::vector<std::vector<int64_t>> rooms;
};

// Makes contexts and keeps what cells share (tokens, passages, scores) of the last documents. Not
// thread-safe; what is text work runs on the pool of its context.
class ContextMaker {
 public:
  ContextMaker(const ContextTools& tools, const ContextOptions& options);
  ~ContextMaker();

  // By case, by cell. Cost: a method without question reads each text once, one with it each text
  // once and each question behind it. Times are the wall's, shared among the cases of a document.
  std::vector<std::vector<MadeContext>> make(const ContextWish& wish);

  // Why a cell's method cannot run with this model; empty: it can.
  std::string unavailable(const Cell& cell);
  // What names the way contexts are made, for keys of predictions.
  std::string signature(const Cell& cell) const;

 private:
  struct Text;
  // Cases of one document.
  struct Run {
    const TaskData& data;
    std::span<const size_t> cases;
    const std::vector<const Cell*>& cells;
    std::span<const std::vector<int64_t>> rooms;
    std::span<std::vector<MadeContext>> out;
    Text* text = nullptr;

    const Case& one(size_t i) const { return data.cases[cases[i]]; }
  };
  using Runs = std::span<const Run>;
  struct Ranking;

  std::vector<Run> runs_of(const ContextWish& wish, std::vector<std::vector<MadeContext>>& out);
  void open_texts(std::vector<Run>& runs);
  void make_indexes(Runs runs);
  int64_t passage_size(const Run& run, size_t i, size_t cell) const;
  std::vector<ByteSpan> cut_passages(const CaseDocument& document, int64_t passage_tokens) const;
  const compress::Compressor& compressor(const std::string& method);
  std::vector<AskedQuestion> asked(Runs runs) const;
  static std::vector<size_t> first_questions(Runs runs);  // of each run, in asked()
  template <typename Fn>
  void each_run(Runs runs, const Fn& fn) const;
  template <typename Fn>
  void each_case(Runs runs, const Fn& fn) const;

  void make_nothing(Runs runs);
  void make_whole(Runs runs);
  void make_retrieved(Runs runs);
  void make_compressed(Runs runs);
  void make_for_questions(Runs runs, const compress::Compressor& method);
  void make_from_passages(Runs runs);
  void make_picked(Runs runs);
  void account(Runs runs, double seconds, bool shares_reading);
  MadeContext whole(const Task& task, const Text& text, int64_t room) const;
  MadeContext retrieved(const Case& c, const Text& text, const Cell& cell,
                        const Ranking& ranking) const;
  MadeContext picked(const Case& c, const Text& text, const compress::Compressor& method,
                     const CompressedContext& slots, const Ranking& ranking) const;
  compress::Request request(const Run& run, size_t i, const compress::Budget& budget) const;
  void write_texts(Runs runs, const compress::Compressor& method, const std::string& key,
                   std::span<const compress::Budget> budgets);
  MadeContext given(const Run& run, const compress::Compressor& method,
                    const CompressedContext& context, int64_t room) const;
  void count(MadeContext& made) const;
  void look_for_answer(const Case& c, MadeContext& made) const;

  const ContextTools tools_;
  ContextOptions options_;
  PassageWords words_;
  double shared_seconds_ = 0;  // of indexes and picked slots made since the last context
  std::map<std::string, std::unique_ptr<compress::Compressor>> made_;
  std::map<const CaseDocument*, std::unique_ptr<Text>> texts_;  // of the documents of one make()
};

}  // namespace offbook::evaluate
