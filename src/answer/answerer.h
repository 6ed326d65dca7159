// A question → an answer with citations: retrieve, focus, prompt, generate, quote, judge.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/answer/focus.h"
#include "src/answer/prompt_runner.h"
#include "src/answer/quotes.h"
#include "src/answer/slots.h"
#include "src/model/generate.h"
#include "src/model/language_model.h"
#include "src/records/context.h"
#include "src/retrieve/retriever.h"

namespace offbook::answer {

// A question on a passage with the answer that is wanted, shown to the model beforehand.
struct Shot {
  std::string passage, evidence, question, answer;
};

// What the model is told. The defaults were chosen on the embedded model:
// docs/decisions/0006-default-prompt.md.
struct Wording {
  std::string system = "You answer questions about documents. Use only the passages you are given.";
  std::string passages = "Read these passages.";
  std::string evidence;  // words before the sentences that fit best
  std::string instruction = "Answer in a few words, taken from the passages.";
  std::vector<Shot> shots = default_shots();

  static std::vector<Shot> default_shots();
};

// Compresses the passages themselves, by the question where the method reads it: more of them go
// into the same budget, each by a part of its text.
struct PassageCompression {
  const compress::Compressor* compressor = nullptr;  // of a method that keeps text; null: none
  backend::ExecutionContext ctx;
  double ratio = 2;
};

// Whose weights answer; no adapter: the base's.
struct AdapterChoice {
  const model::LoraAdapter* adapter = nullptr;
  std::string id;  // names the adapter's content; empty without one
  // Weights' hash of a compressor whose own reader it holds: it may read that one's slots.
  std::string reads;
};

struct AskOptions {
  retrieve::RetrieveOptions retrieve;
  FocusOptions focus;
  SlotSource* slot_source = nullptr;  // null: no slots
  SlotOptions slots;
  PassageCompression passage_compression;
  // Where raw passages are read apart, each behind the prompt's beginning alone, so that their keys
  // and values serve every prompt; null: each sees those before it. Not with a compression by the
  // question, whose passages come up once.
  PassageMemory* passage_memory = nullptr;
  // Vectors of sentences, kept between questions; null: the encoder makes them each time.
  SentenceVectors* sentence_vectors = nullptr;
  QuoteOptions quotes;
  Wording wording;
  model::SamplingOptions sampling;
  std::vector<std::string> stop_strings = {"\n\n", "\nQuestion:"};
  int max_answer_tokens = 96;
  int max_citations = 2;
  // Sentences that fit the question best are repeated behind the passages, next to the question,
  // where a small model looks.
  int evidence_sentences = 2;
  // A question is "not in these documents" when no passage is closer than this and none holds this
  // share of its words.
  double min_cosine = 0.3;
  double min_word_share = 0.6;
  AdapterChoice adapter;
  // Where set, chooses in place of `adapter` from the passages found: adapters of groups.
  std::function<AdapterChoice(const retrieve::Retrieval&)> choose_adapter;
  // End when the prompt is made: training and assessment read exactly what the model would be
  // given.
  bool prompt_only = false;
  // The best evidence, before the model has said anything; called at most once, with number 1. The
  // answer's own citations keep that number where they quote the same, and go on from 2.
  std::function<void(const Citation&)> on_evidence;
  // Stretches of the answer as they come; false ends it.
  std::function<bool(std::string_view)> on_text;
};

struct AskStats {
  double retrieve_seconds = 0, prompt_seconds = 0, generate_seconds = 0, quote_seconds = 0;
  // prompt = reused + attached (slots and passages read apart) + computed.
  int prompt_tokens = 0, reused_tokens = 0, attached_tokens = 0, computed_tokens = 0;
  int generated_tokens = 0;
  // Of the attached: passages that the memory held, and that it had to read first.
  int found_passages = 0, read_passages = 0;
  // Of the prompt: raw passages (as they are, or what was kept of them) and slots.
  int raw_tokens = 0, slot_tokens = 0;
};

struct AskResult {
  Answer answer;
  retrieve::Retrieval retrieval;
  std::vector<FocusText> focus;
  SlotText slots;
  Prompt prompt;                // the exact parts; empty when the model was not asked
  std::vector<int> supporting;  // numbers of the citations that hold what the answer says
  model::StopReason reason = model::StopReason::stop_token;
  AskStats stats;
};

// What `chat` keeps between questions.
struct Conversation {
  struct Turn {
    std::string question, answer;
  };
  std::vector<Turn> turns;
  std::vector<FocusText> focus;  // raw text in the prompt now
  SlotText slots;                // and what stands before it
};

// Answers from one corpus with one model. Not thread-safe; what it is given must outlive it. The
// keys and values of a prompt's beginning (system, slots, passages, earlier turns) are kept between
// questions, so a question on the same passages costs its own tokens. Slots are never computed:
// their keys and values are attached.
class Answerer {
 public:
  Answerer(retrieve::Retriever& retriever, const model::LanguageModel& model,
           model::Decoder& decoder);

  // InvalidArgument, with the numbers, for a question that the window cannot hold.
  AskResult ask(const std::string& question, const AskOptions& options);
  // The same inside a conversation, to which the turn is added. The passages in the prompt stay
  // while the best passage for the new question is among them; the oldest turns go when the window
  // is full.
  AskResult ask(const std::string& question, Conversation& conversation, const AskOptions& options);

 private:
  struct Job;
  bool is_answerable(const Job& job) const;
  void choose_focus(Job& job);
  void fill_focus(Job& job, int room);
  Prompt render(const Job& job) const;
  AdapterChoice reader_of(const Job& job) const;
  void generate(Job& job);
  void cite(Job& job, const QuoteFinder& finder);
  int room_for_passages(const Job& job) const;
  void require_room(const Job& job, int room) const;

  retrieve::Retriever& retriever_;
  const model::LanguageModel& model_;
  model::Decoder& decoder_;
  PromptRunner runner_;
};

// The text of a prompt part as the model reads it, control tokens spelled out; for `--explain`.
std::string part_text(const text::Tokenizer& tokenizer, const PromptPart& part);

// "handbook.pdf, page 3" or "guide.md, Setup > Keys".
std::string place_of(const Citation& citation);

}  // namespace offbook::answer
