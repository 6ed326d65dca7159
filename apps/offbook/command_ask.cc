// ask, chat
#include "apps/offbook/commands.h"
#include "apps/offbook/compressors.h"
#include "apps/offbook/engines.h"
#include "apps/offbook/prompt_form.h"
#include "apps/offbook/slot_use.h"

#include <iostream>
#include <memory>
#include <optional>
#include <set>

#include <unistd.h>

#include "src/answer/group_vote.h"
#include "src/learn/adapter_files.h"
#include "src/learn/grouping.h"

namespace offbook::app {
namespace {

using nlohmann::json;

struct AskFlags {
  std::string corpus;
  std::string question;
  answer::AskOptions ask;
  std::string mode = "hybrid";
  std::string slots = "auto";
  std::string method;  // compresses the passages
  double passage_ratio = 2;
  std::filesystem::path compressor;  // weights of the corpus's method
  std::string reading = "together";
  uint64_t shelf_bytes = store::kDefaultShelfBytes;
  const CLI::App* command = nullptr;  // which flags were given
  bool explain = false;
  bool no_adapter = false;
  bool stats = false;
};

std::string_view name_of(Answer::Support support) {
  switch (support) {
    case Answer::Support::cited:
      return "cited";
    case Answer::Support::from_memory:
      return "from memory";
    case Answer::Support::not_in_documents:
      return "not in these documents";
  }
  OB_CHECK(false);
}

std::string on_one_line(std::string text) {
  for (char& c : text) {
    c = c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  }
  return text;
}

json as_json(const Citation& c) {
  json out{{"number", c.number},     {"passage", c.passage_id}, {"file", c.path},
           {"headings", c.headings}, {"quote", c.quote},        {"begin", c.span.begin},
           {"end", c.span.end}};
  if (c.page) {
    out["page"] = *c.page;
  }
  return out;
}

json as_json(const answer::AskStats& s) {
  return {{"retrieve_seconds", s.retrieve_seconds},
          {"prompt_seconds", s.prompt_seconds},
          {"generate_seconds", s.generate_seconds},
          {"quote_seconds", s.quote_seconds},
          {"prompt_tokens", s.prompt_tokens},
          {"reused_tokens", s.reused_tokens},
          {"attached_tokens", s.attached_tokens},
          {"computed_tokens", s.computed_tokens},
          {"found_passages", s.found_passages},
          {"read_passages", s.read_passages},
          {"raw_tokens", s.raw_tokens},
          {"slot_tokens", s.slot_tokens},
          {"generated_tokens", s.generated_tokens}};
}

// One program run's questions to one corpus.
class Asker {
 public:
  Asker(const Shell& shell, AskFlags& flags, bool asks_often)
      : shell_(shell),
        flags_(flags),
        engines_(shell),
        open_(shell, engines_, flags.corpus, asks_often),
        answerer_(*open_.retriever, engines_.model(), engines_.decoder()) {
    flags_.ask.retrieve.mode = retrieve::mode_named(flags.mode);
    use_prompt_form();
    use_adapters();
    use_slots();
    use_passage_memory();
    flags_.ask.on_evidence = [this](const Citation& c) { show(c); };
    flags_.ask.on_text = [this](std::string_view text) {
      shell_.write_result(text);
      return !shell_.stop().stop_requested();
    };
  }

  void ask(const std::string& question, answer::Conversation& conversation) {
    shown_.clear();
    vote_.reset();
    const answer::AskResult result = answerer_.ask(question, conversation, flags_.ask);
    shell_.write_result(result.answer.text.empty() ? "" : "\n\n");
    for (const Citation& c : result.answer.citations) {
      show(c);
    }
    shell_.say("{}", verdict(result));
    if (flags_.explain) {
      explain(result);
    }
    if (flags_.stats) {
      say_stats(result.stats);
    }
    report(result);
    if (slots_) {
      slots_->store_made(shell_, flags_.corpus);
    }
    sentences_->store_made();
    if (memory_) {
      memory_->store_made();
    }
    OB_REQUIRE(result.reason != model::StopReason::cancelled, Cancelled,
               "stopped; the corpus is as it was");
  }

 private:
  // As the corpus was learned, where the flags say nothing else.
  void use_prompt_form() {
    for (const store::Generation& g : open_.corpus.generations().list()) {
      if (g.number != open_.generation) {
        continue;
      }
      const PromptForm form = PromptForm::from_json(g.settings.value("prompt", json()));
      answer::AskOptions as_learned = flags_.ask;
      form.apply(as_learned);
      const auto is_given = [&](const char* flag) { return flags_.command->count(flag) > 0; };
      flags_.slots = is_given("--slots") ? flags_.slots : form.slots;
      flags_.ask.wording.shots = as_learned.wording.shots;
      if (!is_given("--evidence")) {
        flags_.ask.evidence_sentences = as_learned.evidence_sentences;
      }
      if (!is_given("--instruction")) {
        flags_.ask.wording.instruction = as_learned.wording.instruction;
      }
    }
  }

  // Those that the corpus was trained with, if they may be used with this model.
  void use_adapters() {
    if (flags_.no_adapter) {
      return;
    }
    const Fingerprint& base = engines_.model().fingerprint();
    if (const auto id = learn::usable_adapter(open_.corpus, open_.generation, base)) {
      flags_.ask.adapter = adapter_of(*id);
    } else if (const std::string why = learn::why_not_used(open_.corpus, open_.generation, base);
               !why.empty()) {
      shell_.note("note: {}; the base model answers; `offbook train` makes a new one", why);
    }
    group_adapters_ = learn::usable_group_adapters(open_.corpus, open_.generation, base);
    if (!group_adapters_.empty()) {
      grouping_ = learn::grouping_of(open_.corpus, open_.generation);
      flags_.ask.choose_adapter = [this](const retrieve::Retrieval& found) {
        return choose_adapter(found);
      };
    }
  }

  // Read when first asked for.
  answer::AdapterChoice adapter_of(const std::string& id) {
    auto& adapter = adapters_[id];
    if (!adapter) {
      adapter = std::make_unique<model::LoraAdapter>(
          learn::load_adapter(open_.corpus, id, engines_.model().fingerprint()));
    }
    const auto record = open_.corpus.adapters().find(id);
    return {adapter.get(), id, record ? record->info.value("reader", "") : ""};
  }

  // Of the group that the passages found vote for; where it has none, the one of all documents.
  answer::AdapterChoice choose_adapter(const retrieve::Retrieval& found) {
    vote_ = answer::vote_of_groups(
        found.passages, [&](const std::string& path) { return grouping_.group_of(path); });
    const auto own = group_adapters_.find(vote_->group);
    const answer::AdapterChoice chosen =
        own == group_adapters_.end() ? flags_.ask.adapter : adapter_of(own->second);
    answering_ = chosen.id.empty() ? "the base model"
                 : own == group_adapters_.end()
                     ? "adapter " + chosen.id.substr(0, 8) + ", of all documents"
                     : "adapter " + chosen.id.substr(0, 8);
    return chosen;
  }

  // The compressed form of the documents, and of the passages where a method is named for them.
  void use_slots() {
    flags_.ask.slots.use = answer::slot_use_named(flags_.slots);
    slots_ = open_slots(shell_, engines_, open_, flags_.ask.slots.use, flags_.compressor);
    flags_.ask.slot_source = slots_ ? &*slots_->source : nullptr;
    const std::string method = flags_.method.empty() ? query_aware_method(open_) : flags_.method;
    if (!method.empty()) {
      passages_ = open_passage_compressor(shell_, engines_, method);
      flags_.ask.passage_compression = {passages_.open->compressor.get(), writing_context(engines_),
                                        flags_.passage_ratio};
    }
  }

  // Passages read apart, and kept beside the corpus for the next question.
  void use_passage_memory() {
    if (flags_.shelf_bytes > 0) {
      shelf_.emplace(store::shelf_of(open_.corpus, flags_.shelf_bytes));
    }
    sentences_.emplace(engines_.encoder(), engines_.encoder_fingerprint(),
                       shelf_ ? &*shelf_ : nullptr);
    flags_.ask.sentence_vectors = &*sentences_;
    if (flags_.reading == "together") {
      return;
    }
    OB_REQUIRE(!engines_.device().is_gpu(), Unsupported,
               "--reading apart is for the CPU; on a GPU passages are read together");
    memory_.emplace(engines_.model().llama(), engines_.model().fingerprint(),
                    engines_.decoder().ctx(), shelf_ ? &*shelf_ : nullptr);
    flags_.ask.passage_memory = &*memory_;
  }

  void show(const Citation& c) {
    if (shown_.contains(c.number)) {
      return;
    }
    shown_.insert(c.number);
    shell_.say("[{}] {}\n    \"{}\"\n", c.number, answer::place_of(c), on_one_line(c.quote));
  }

  static std::string verdict(const answer::AskResult& result) {
    if (result.answer.support == Answer::Support::cited) {
      return fmt::format("Cited: [{}]", fmt::join(result.supporting, "] ["));
    }
    return result.answer.support == Answer::Support::from_memory
               ? "From memory: no passage that was found says this."
               : "Not in these documents.";
  }

  void explain(const answer::AskResult& result) const {
    shell_.say("\nPassages found (rank by words / by meaning, cosine):");
    for (const retrieve::RankedPassage& p : result.retrieval.passages) {
      const auto rank = [](std::optional<int> r) { return r ? std::to_string(*r) : "-"; };
      shell_.say("  {} {}–{}: {} / {}, {:.3f}", p.path, p.passage.span.begin, p.passage.span.end,
                 rank(p.text_rank), rank(p.dense_rank), p.cosine);
    }
    if (vote_) {
      std::vector<std::string> shares;
      for (const auto& [group, share] : vote_->shares) {
        shares.push_back(fmt::format("{} {:.2f}", group.empty() ? "(none)" : group, share));
      }
      shell_.say("Group by the passages' votes: {}; {} answers.", fmt::join(shares, ", "),
                 answering_);
    }
    if (!result.slots.passages.empty()) {
      shell_.say("Passages given by their slots ({} positions):", result.slots.tokens);
    }
    for (const answer::SlotPassage& p : result.slots.passages) {
      shell_.say("  {} {}–{}: {} slots", p.path, p.span.begin, p.span.end, p.slots);
    }
    for (const answer::PromptPart& part : result.prompt) {
      shell_.say("\n--- {}: {} tokens ---\n{}", part.name, part.length(),
                 answer::part_text(*tokenizer_, part));
    }
  }

  void say_stats(const answer::AskStats& s) const {
    shell_.say(
        "\nretrieve {:.0f} ms, quotes {:.0f} ms, prompt {:.0f} ms ({} tokens: {} reused, {} "
        "attached, {} computed; {} of raw passages, {} of slots; {} passages found stored, {} "
        "read), answer {:.0f} ms ({} tokens, {:.1f} tokens/s)",
        1e3 * s.retrieve_seconds, 1e3 * s.quote_seconds, 1e3 * s.prompt_seconds, s.prompt_tokens,
        s.reused_tokens, s.attached_tokens, s.computed_tokens, s.raw_tokens, s.slot_tokens,
        s.found_passages, s.read_passages, 1e3 * s.generate_seconds, s.generated_tokens,
        s.generate_seconds > 0 ? s.generated_tokens / s.generate_seconds : 0);
  }

  void report(const answer::AskResult& result) const {
    json citations = json::array();
    for (const Citation& c : result.answer.citations) {
      citations.push_back(as_json(c));
    }
    json out{{"answer", result.answer.text},
             {"support", name_of(result.answer.support)},
             {"citations", citations},
             {"supporting", result.supporting},
             {"stats", as_json(result.stats)}};
    if (flags_.explain && vote_) {
      out["group"] = {{"name", vote_->group}, {"votes", vote_->shares}, {"answers", answering_}};
    }
    if (flags_.explain) {
      out["slots"] = json::array();
      for (const answer::SlotPassage& p : result.slots.passages) {
        out["slots"].push_back(
            {{"file", p.path}, {"begin", p.span.begin}, {"end", p.span.end}, {"slots", p.slots}});
      }
      out["prompt"] = json::array();
      for (const answer::PromptPart& part : result.prompt) {
        out["prompt"].push_back({{"part", part.name},
                                 {"tokens", part.length()},
                                 {"text", answer::part_text(*tokenizer_, part)}});
      }
    }
    shell_.say_json(out);
    json event = as_json(result.stats);
    event["event"] = "ask";
    event["corpus"] = flags_.corpus;
    event["support"] = name_of(result.answer.support);
    shell_.log(event);
  }

  const Shell& shell_;
  AskFlags& flags_;
  Engines engines_;
  OpenCorpus open_;
  answer::Answerer answerer_;
  std::map<std::string, std::unique_ptr<model::LoraAdapter>> adapters_;  // by id
  std::map<std::string, std::string> group_adapters_;                    // ids by group
  learn::Grouping grouping_;
  std::optional<answer::GroupVote> vote_;  // on the last question
  std::string answering_;
  std::unique_ptr<OpenSlots> slots_;
  CompressorChoice passages_;
  std::optional<store::Shelf> shelf_;
  std::optional<answer::SentenceVectors> sentences_;
  std::optional<answer::PassageMemory> memory_;
  const text::Tokenizer* tokenizer_ = &engines_.model().tokenizer();
  std::set<int> shown_;
};

void run_ask(const Shell& shell, AskFlags& flags) {
  Asker asker(shell, flags, false);
  answer::Conversation conversation;
  asker.ask(flags.question, conversation);
}

// A line of input; absent at its end.
std::optional<std::string> read_question(const Shell& shell) {
  if (::isatty(STDIN_FILENO) == 1 && shell.is_terminal()) {
    std::cerr << "> " << std::flush;
  }
  set_idle(true);
  std::string line;
  const bool is_there = static_cast<bool>(std::getline(std::cin, line));
  set_idle(false);
  return is_there ? std::optional(line) : std::nullopt;
}

void run_chat(const Shell& shell, AskFlags& flags) {
  Asker asker(shell, flags, true);
  shell.note("Ask about {}. /new forgets the conversation, /quit ends it.", flags.corpus);
  answer::Conversation conversation;
  while (const auto line = read_question(shell)) {
    if (*line == "/quit") {
      break;
    }
    if (*line == "/new") {
      conversation = {};
    } else if (line->find_first_not_of(" \t\r") != std::string::npos) {
      asker.ask(*line, conversation);
    }
  }
}

void add_ask_options(CLI::App* command, AskFlags& f) {
  auto& a = f.ask;
  f.command = command;
  command->add_option("--file", a.retrieve.path_globs,
                      "only documents whose path matches (shell pattern; repeatable)");
  command->add_option("--mode", f.mode, "search by words, meaning or hybrid")
      ->capture_default_str();
  command->add_option("--top", a.retrieve.top_k, "passages to find")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--passages", a.focus.max_passages, "most passages given to the model")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--budget", a.focus.budget_tokens, "most tokens of passages")
      ->check(CLI::Range(16, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--slots", f.slots,
                   "compressed documents beside the passages: auto (where their fidelity "
                   "allows), always, never, only (in place of passages)")
      ->check(CLI::IsMember({"auto", "always", "never", "only"}))
      ->capture_default_str();
  command->add_option("--slot-share", a.slots.share, "of --budget, that slots may take")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--compressor", f.compressor, "file with the weights that made the slots");
  command->add_option("--method", f.method,
                      "compresses the passages themselves: quito (by the question), "
                      "selective_context, truncate, head_tail, random");
  command->add_option("--passage-ratio", f.passage_ratio, "of --method: tokens of source a token")
      ->check(CLI::Range(1.0, 64.0))
      ->capture_default_str();
  command
      ->add_option(
          "--reading", f.reading,
          "passages together, or apart: each behind the prompt's beginning alone, so that its keys "
          "and values are kept for the next question; sooner answers, on the CPU")
      ->check(CLI::IsMember({"together", "apart"}))
      ->capture_default_str();
  command
      ->add_option(
          "--shelf", f.shelf_bytes,
          "bytes on disk for what is kept of passages (keys, values, vectors of sentences), as "
          "512MiB; 0: none")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command->add_option("--max-tokens", a.max_answer_tokens, "longest answer, in tokens")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--citations", a.max_citations, "most citations")
      ->check(CLI::Range(1, 20))
      ->capture_default_str();
  command->add_option("--quote-passages", a.quotes.passages, "passages whose sentences are quoted")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--evidence", a.evidence_sentences, "sentences repeated at the question")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  command->add_option("--system", a.wording.system, "the model's role")->capture_default_str();
  command->add_option("--intro", a.wording.passages, "words before the passages")
      ->capture_default_str();
  command->add_option("--evidence-intro", a.wording.evidence, "words before the sentences")
      ->capture_default_str();
  command->add_option("--instruction", a.wording.instruction, "words before the question")
      ->capture_default_str();
  command->add_option("--min-cosine", a.min_cosine, "below it, \"not in these documents\" …")
      ->check(CLI::Range(-1.0, 1.0))
      ->capture_default_str();
  command->add_option("--min-words", a.min_word_share, "… unless this share of its words is there")
      ->check(CLI::Range(0.0, 1.01))
      ->capture_default_str();
  command->add_option("--temperature", a.sampling.temperature, "0: always the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", a.sampling.top_k, "0: all")->capture_default_str();
  command->add_option("--top-p", a.sampling.top_p)->capture_default_str();
  command->add_option("--min-p", a.sampling.min_p)->capture_default_str();
  command->add_option("--repetition-penalty", a.sampling.repetition_penalty)->capture_default_str();
  command->add_option("--stop", a.stop_strings, "text that ends an answer (repeatable)");
  command->add_option("--seed", a.sampling.seed)->capture_default_str();
  command->add_flag("--no-adapter", f.no_adapter, "the base model answers");
  command->add_flag("--explain", f.explain, "show the exact parts of the prompt");
  command->add_flag("--stats", f.stats, "show time, tokens and what was reused");
}

}  // namespace

void add_ask(CLI::App& app, Shell& shell) {
  auto ask = std::make_shared<AskFlags>();
  CLI::App* command =
      add_command(app, shell, "ask", "answers a question from a corpus, with citations",
                  "  offbook ask handbook \"What did the committee decide about class sizes?\"\n"
                  "  offbook ask handbook \"Who chairs it?\" --file 'minutes/*' --explain --stats",
                  [&shell, ask] { run_ask(shell, *ask); });
  command->add_option("corpus", ask->corpus, "name of the corpus")->required();
  command->add_option("question", ask->question)->required();
  add_ask_options(command, *ask);

  auto chat = std::make_shared<AskFlags>();
  command = add_command(app, shell, "chat", "answers questions, one a line, as a conversation",
                        "  offbook chat handbook\n"
                        "  printf 'Who chairs it?\\nSince when?\\n' | offbook chat handbook --json",
                        [&shell, chat] { run_chat(shell, *chat); });
  command->add_option("corpus", chat->corpus, "name of the corpus")->required();
  add_ask_options(command, *chat);
}

}  // namespace offbook::app
