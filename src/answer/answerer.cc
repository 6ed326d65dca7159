#include "src/answer/answerer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "src/base/error.h"
#include "src/metrics/retrieval_scores.h"

namespace offbook::answer {
namespace {

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string::npos
             ? ""
             : text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::string heading_of(const FocusText& text) {
  std::string heading = text.title.empty() ? text.path : text.title;
  for (const std::string& h : text.headings) {
    heading += " > " + h;
  }
  return heading;
}

struct PassagesText {
  std::string text;
  // Ends of the words before the passages, and of each passage; documents of the latter.
  std::vector<size_t> ends;
  std::vector<int64_t> documents;
};

PassagesText passages_text(const std::vector<FocusText>& focus, const Wording& wording) {
  PassagesText out{.text = fmt::format("{}\n\n", wording.passages)};
  out.ends.push_back(out.text.size());
  for (auto t = focus.rbegin(); t != focus.rend(); ++t) {  // the best next to the question
    out.text += fmt::format("[{}]\n{}\n\n", heading_of(*t), t->text);
    out.ends.push_back(out.text.size());
    out.documents.push_back(t->document);
  }
  return out;
}

// Passages for `ratio` times the budget, each with what the method keeps of it in place of its
// text.
std::vector<FocusText> compressed_focus(store::Corpus& corpus,
                                        std::span<const retrieve::RankedPassage> ranked,
                                        const text::Tokenizer& tokenizer,
                                        const std::string& question, int budget_tokens,
                                        const AskOptions& options) {
  const PassageCompression& by = options.passage_compression;
  const auto more = [&](int n) { return static_cast<int>(n * by.ratio); };
  std::vector<FocusText> texts = focus(
      corpus, ranked, tokenizer,
      {.budget_tokens = more(budget_tokens), .max_passages = more(options.focus.max_passages)});
  for (FocusText& t : texts) {
    const text::Encoding encoding = tokenizer.encode(t.text, {.add_special = false});
    Segment segment{.span = t.span, .tokens = encoding.ids};
    for (const auto& span : encoding.spans) {
      segment.token_spans.push_back({t.span.begin + span.begin, t.span.begin + span.end});
    }
    const compress::Request request{
        .segment = &segment, .text = t.text, .question = question, .budget = {.ratio = by.ratio}};
    const CompressedContext kept = by.compressor->compress(by.ctx, std::span(&request, 1)).front();
    t.tokens = kept.tokens_after;
    t.text = kept.text;
  }
  return texts;
}

std::string evidence_text(const std::vector<Quote>& evidence, const Wording& wording) {
  std::string text;
  for (auto q = evidence.rbegin(); q != evidence.rend(); ++q) {
    text += "\n" + q->text;
  }
  return text.empty() ? "" : fmt::format("{}{}\n\n", wording.evidence, text);
}

}  // namespace

struct Answerer::Job {
  const std::string& question;
  Conversation& conversation;
  const AskOptions& options;
  AskResult result;
  std::vector<Quote> evidence;  // best first
  std::optional<Quote> shown;   // before the answer, as [1]
};

std::vector<Shot> Wording::default_shots() {
  return {
      {"The library on Mill Street was built in 1931 by the architect Anna Holm. It holds about "
       "40,000 books and is closed on Mondays.",
       "The library on Mill Street was built in 1931 by the architect Anna Holm.",
       "Who built the library on Mill Street?", "Anna Holm"},
      {"The board met on 3 May. It agreed to raise the fee for members from 20 to 25 euros, "
       "since heating had become dearer.",
       "It agreed to raise the fee for members from 20 to 25 euros, since heating had become "
       "dearer.",
       "Why was the fee raised?", "heating had become dearer"}};
}

Answerer::Answerer(retrieve::Retriever& retriever, const model::LanguageModel& model,
                   model::Decoder& decoder)
    : retriever_(retriever), model_(model), decoder_(decoder), runner_(decoder) {}

// The messages as one list of tokens, cut where the passages end, so that people see the parts; and
// at each passage where they are read apart.
Prompt Answerer::render(const Job& job) const {
  const Wording& wording = job.options.wording;
  std::vector<text::ChatMessage> messages{{"system", wording.system, {}}};
  for (const Shot& shot : wording.shots) {
    messages.push_back(
        {"user",
         fmt::format("{}\n\n{}\n\n{}\n{}\n\n{}\nQuestion: {}", wording.passages, shot.passage,
                     wording.evidence, shot.evidence, wording.instruction, shot.question),
         {}});
    messages.push_back({"assistant", shot.answer, {}});
  }
  const PassagesText passages = passages_text(job.conversation.focus, wording);
  const bool is_apart = job.options.passage_memory != nullptr &&
                        job.options.passage_compression.compressor == nullptr &&
                        !passages.documents.empty();
  std::vector<size_t> cuts{0};
  if (is_apart) {
    cuts.insert(cuts.end(), passages.ends.begin(), passages.ends.end());
  } else {
    cuts.push_back(passages.text.size());
  }
  bool has_passages = false;
  const auto add_user = [&](const std::string& question, const std::string& evidence) {
    const std::string asked =
        fmt::format("{}{}\nQuestion: {}", evidence, wording.instruction, question);
    if (!std::exchange(has_passages, true)) {
      messages.push_back({"user", passages.text + asked, cuts});
    } else {
      messages.push_back({"user", asked, {}});
    }
  };
  for (const Conversation::Turn& turn : job.conversation.turns) {
    add_user(turn.question, "");
    messages.push_back({"assistant", turn.answer, {}});
  }
  add_user(job.question, evidence_text(job.evidence, wording));
  const text::ChatPrompt chat =
      text::render_chat(model_.tokenizer(), model_.chat_format(), messages);
  const auto part = [&](const char* name, size_t begin, size_t end) {
    return PromptPart{.name = name,
                      .tokens = {chat.ids.begin() + static_cast<std::ptrdiff_t>(begin),
                                 chat.ids.begin() + static_cast<std::ptrdiff_t>(end)}};
  };
  Prompt prompt = {part("system", 0, chat.cuts[0])};
  const Prompt& slots = job.conversation.slots.parts;
  prompt.insert(prompt.end(), slots.begin(), slots.end());
  prompt.push_back(part("passages", chat.cuts[0], chat.cuts[1]));
  for (size_t i = 2; i < cuts.size(); ++i) {
    prompt.push_back(part("passage", chat.cuts[i - 1], chat.cuts[i]));
    prompt.back().reading = Reading::apart;
    prompt.back().document = passages.documents[i - 2];
  }
  prompt.push_back(part("question", chat.cuts.back(), chat.ids.size()));
  return prompt;
}

// Tokens that the window leaves for raw passages with everything else in place.
int Answerer::room_for_passages(const Job& job) const {
  Conversation without = job.conversation;
  without.focus.clear();
  without.slots = {};
  const Job bare{job.question, without, job.options, {}, job.evidence, {}};
  const int fixed = prompt_length(render(bare));
  const auto window = static_cast<int>(model_.config().max_positions);
  return window - fixed - job.options.max_answer_tokens;
}

void Answerer::require_room(const Job& job, int room) const {
  OB_REQUIRE(room >= 64, InvalidArgument,
             "the question is too long: with it the prompt has {} tokens before any passage, and "
             "the model's window of {} must also hold an answer of {}",
             model_.config().max_positions - room - job.options.max_answer_tokens,
             model_.config().max_positions, job.options.max_answer_tokens);
}

void Answerer::choose_focus(Job& job) {
  int room = room_for_passages(job);
  auto& turns = job.conversation.turns;
  while (room < job.options.focus.budget_tokens && !turns.empty()) {
    turns.erase(turns.begin());
    job.conversation.focus.clear();
    job.conversation.slots = {};
    room = room_for_passages(job);
  }
  require_room(job, room);
  const auto& ranked = job.result.retrieval.passages;
  const auto holds = [&](int64_t id) {
    return std::any_of(job.conversation.focus.begin(), job.conversation.focus.end(),
                       [&](const FocusText& t) {
                         return std::any_of(t.passages.begin(), t.passages.end(),
                                            [&](const Passage& p) { return p.id == id; });
                       });
  };
  // What was kept of passages for another question may lack what this one asks for.
  const bool is_kept_by_question = job.options.passage_compression.compressor != nullptr;
  if (is_kept_by_question || !holds(ranked.front().passage.id)) {
    // Headings and blank lines around the passages need some tokens of their own.
    fill_focus(job, room - 48);
  }
  job.result.focus = job.conversation.focus;
  job.result.slots = job.conversation.slots;
}

// Slots take at most their share of the budget, raw passages the rest of it.
void Answerer::fill_focus(Job& job, int room) {
  const AskOptions& options = job.options;
  const auto& ranked = job.result.retrieval.passages;
  const int budget = std::min(options.focus.budget_tokens, room);
  SlotSource* source = options.slot_source;
  const SlotUse use = options.slots.use;
  const bool has_slots = source != nullptr && source->has_any(use) && options.slots.share > 0;
  Conversation& now = job.conversation;
  now.focus.clear();
  now.slots = {};
  if (has_slots && use == SlotUse::only) {
    now.slots = source->choose(ranked, {}, use, budget, options.focus.max_passages);
    return;
  }
  const auto take_raw = [&](int tokens) {
    now.focus = options.passage_compression.compressor != nullptr
                    ? compressed_focus(retriever_.corpus(), ranked, model_.tokenizer(),
                                       job.question, tokens, options)
                    : focus(retriever_.corpus(), ranked, model_.tokenizer(),
                            {.budget_tokens = tokens, .max_passages = options.focus.max_passages});
  };
  const int for_slots = has_slots ? static_cast<int>(options.slots.share * budget) : 0;
  take_raw(budget - for_slots);
  if (has_slots) {
    now.slots = source->choose(ranked, now.focus, use, for_slots, for_slots);
    if (now.slots.passages.empty()) {
      take_raw(budget);
    }
  }
}

namespace {

// All tokens that stand in a prompt, which an answer may copy.
std::vector<int32_t> tokens_of(const Prompt& prompt) {
  std::vector<int32_t> out;
  for (const PromptPart& part : prompt) {
    out.insert(out.end(), part.tokens.begin(), part.tokens.end());
  }
  return out;
}

}  // namespace

void Answerer::generate(Job& job) {
  Stopwatch watch;
  AskResult& result = job.result;
  const AskOptions& options = job.options;
  result.prompt = render(job);
  if (options.prompt_only) {
    return;
  }
  const AdapterChoice chosen = reader_of(job);
  runner_.set_memory(options.passage_memory);
  const auto counts = [&] {
    return options.passage_memory != nullptr ? options.passage_memory->counts()
                                             : PassageMemory::Counts{};
  };
  const PassageMemory::Counts before = counts();
  PromptRun run = runner_.run(result.prompt, chosen.adapter, chosen.id);
  result.stats.found_passages = counts().found - before.found;
  result.stats.read_passages = counts().computed - before.computed;
  result.stats.prompt_seconds = watch.lap();
  result.stats.prompt_tokens = prompt_length(result.prompt);
  result.stats.reused_tokens = run.reused_tokens;
  result.stats.computed_tokens = run.computed_tokens;
  result.stats.attached_tokens = run.attached_tokens;
  result.stats.slot_tokens = job.conversation.slots.tokens;
  for (const FocusText& t : job.conversation.focus) {
    result.stats.raw_tokens += t.tokens;
  }
  const model::Generated generated =
      model::generate(decoder_, model_.tokenizer(), run.sequence, run.logits,
                      {.sampling = options.sampling,
                       .max_tokens = options.max_answer_tokens,
                       .stop_tokens = text::chat_stop_ids(model_.tokenizer(), model_.chat_format()),
                       .stop_strings = options.stop_strings,
                       .adapter = chosen.adapter,
                       .lookup = tokens_of(result.prompt),
                       .on_text = options.on_text});
  result.stats.generate_seconds = watch.lap();
  result.stats.generated_tokens = static_cast<int>(generated.tokens.size());
  result.reason = generated.reason;
  result.answer.text = trimmed(generated.text);
  result.answer.prompt_tokens = result.stats.prompt_tokens;
  result.answer.generated_tokens = result.stats.generated_tokens;
  runner_.keep(std::move(run), result.prompt, chosen.id, generated.tokens);
}

// Slots that only their own adapter reads are read under it, or under one that holds it.
AdapterChoice Answerer::reader_of(const Job& job) const {
  const AskOptions& options = job.options;
  AdapterChoice chosen =
      options.choose_adapter ? options.choose_adapter(job.result.retrieval) : options.adapter;
  const bool has_own =
      !job.conversation.slots.parts.empty() && options.slot_source->reader_adapter() != nullptr;
  if (!has_own || chosen.reads == options.slot_source->recipe().weights_hash) {
    return chosen;
  }
  return {.adapter = options.slot_source->reader_adapter(),
          .id = options.slot_source->recipe().weights_hash};
}

void Answerer::cite(Job& job, const QuoteFinder& finder) {
  Answer& answer = job.result.answer;
  if (metrics::is_abstention(answer.text)) {
    answer.support = Answer::Support::not_in_documents;
    return;
  }
  answer.support = Answer::Support::from_memory;
  int next = job.shown ? 2 : 1;
  for (const Quote& quote :
       finder.best(answer.text, static_cast<size_t>(job.options.max_citations))) {
    const bool is_supporting = finder.supports(quote, answer.text);
    const bool is_shown =
        job.shown && job.shown->document == quote.document && job.shown->span == quote.span;
    if (is_supporting || answer.citations.empty()) {
      answer.citations.push_back(
          checked_citation(retriever_.corpus(), quote, is_shown ? 1 : next++));
    }
    if (is_supporting) {
      answer.support = Answer::Support::cited;
      job.result.supporting.push_back(answer.citations.back().number);
    }
  }
}

bool Answerer::is_answerable(const Job& job) const {
  const retrieve::Retrieval& found = job.result.retrieval;
  return !found.passages.empty() && (found.best_cosine >= job.options.min_cosine ||
                                     found.word_share >= job.options.min_word_share);
}

AskResult Answerer::ask(const std::string& question, const AskOptions& options) {
  Conversation conversation;
  return ask(question, conversation, options);
}

AskResult Answerer::ask(const std::string& question, Conversation& conversation,
                        const AskOptions& options) {
  Stopwatch watch;
  Job job{question, conversation, options, {}, {}, {}};
  AskResult& result = job.result;
  Conversation alone;
  const Job bare{question, alone, options, {}, {}, {}};
  require_room(bare, room_for_passages(bare));
  result.retrieval = retriever_.retrieve(question, options.retrieve);
  result.stats.retrieve_seconds = watch.lap();
  if (!is_answerable(job)) {
    result.answer.support = Answer::Support::not_in_documents;
    return result;
  }
  SentenceVectors made_here(retriever_.encoder(), "", nullptr);
  const QuoteFinder finder(
      retriever_.corpus(),
      options.sentence_vectors != nullptr ? options.sentence_vectors : &made_here, question,
      result.retrieval, options.quotes);
  if (options.slots.use != SlotUse::only) {  // raw sentences beside the slots would answer for them
    job.evidence = finder.best("", static_cast<size_t>(options.evidence_sentences));
  }
  if (options.on_evidence) {
    for (const Quote& quote : finder.best("", 1)) {
      job.shown = quote;
      options.on_evidence(checked_citation(retriever_.corpus(), quote, 1));
    }
  }
  result.stats.quote_seconds = watch.lap();
  choose_focus(job);
  generate(job);
  if (options.prompt_only) {
    return result;
  }
  watch.lap();
  cite(job, finder);
  result.stats.quote_seconds += watch.lap();
  conversation.turns.push_back({question, result.answer.text});
  return result;
}

std::string part_text(const text::Tokenizer& tokenizer, const PromptPart& part) {
  if (!part.tokens.empty()) {
    return text::decode(tokenizer, part.tokens, {.show_control = true});
  }
  return fmt::format("({} slots of {})", part.length(), part.key);
}

std::string place_of(const Citation& citation) {
  std::string place = citation.path;
  if (citation.page) {
    place += fmt::format(", page {}", *citation.page);
  } else if (!citation.headings.empty()) {
    place += fmt::format(", {}", fmt::join(citation.headings, " > "));
  }
  return place;
}

}  // namespace offbook::answer
