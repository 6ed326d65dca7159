// inspect
#include "apps/offbook/commands.h"

#include <memory>

#include "src/learn/fidelity.h"

namespace offbook::app {
namespace {

using nlohmann::json;

struct InspectFlags {
  std::string corpus, document;
  bool show_passages = false;
};

void say_passages(const Shell& shell, const std::vector<Passage>& passages, json& out) {
  for (const Passage& p : passages) {
    json entry{{"id", p.id},
               {"begin", p.span.begin},
               {"end", p.span.end},
               {"tokens", p.base_tokens},
               {"headings", p.headings},
               {"text", p.text}};
    if (p.page) {
      entry["page"] = *p.page;
    }
    out["passages"].push_back(entry);
    shell.say("\n--- passage {} ({}–{}, {} tokens) {}\n{}", p.ordinal, p.span.begin, p.span.end,
              p.base_tokens, fmt::join(p.headings, " > "), p.text);
  }
}

// That the verdicts of a generation were made with.
double floor_of(store::Corpus& corpus, int64_t generation) {
  for (const store::Generation& g : corpus.generations().list()) {
    if (g.number == generation) {
      return g.settings.value("fidelity_floor", learn::FidelityOptions{}.floor);
    }
  }
  return learn::FidelityOptions{}.floor;
}

// Questions kept and rejected, and what the fidelity score decided.
void say_learned(const Shell& shell, store::Corpus& corpus, const store::StoredDocument& d,
                 int64_t generation, json& out) {
  out["questions"] = json::array();
  for (const store::ExampleRecord& r : corpus.examples().of_document(d.document.id)) {
    out["questions"].push_back({{"question", r.example.question},
                                {"answers", r.example.answers},
                                {"is_kept", r.is_kept},
                                {"reason", r.reason},
                                {"is_stale", r.is_stale}});
    shell.say("question {}: {} → {}", r.is_kept ? "kept" : "rejected (" + r.reason + ")",
              r.example.question, fmt::join(r.example.answers, " | "));
  }
  out["fidelity"] = json::array();
  const double floor = floor_of(corpus, generation);
  for (const store::Fidelity& f : corpus.generations().fidelity(generation)) {
    if (f.document == d.number) {
      out["fidelity"].push_back({{"method", f.method},
                                 {"score", f.score},
                                 {"lower", f.lower},
                                 {"upper", f.upper},
                                 {"questions", f.questions},
                                 {"floor", floor},
                                 {"use_slots", f.use_slots}});
      shell.say("{}: {}", f.method, learn::reason_of(f, floor));
    }
  }
  if (out["fidelity"].empty()) {
    shell.say("answered from raw passages: no fidelity has been measured");
  }
}

void inspect_document(const Shell& shell, const InspectFlags& flags) {
  store::Corpus corpus = shell.corpora().open(flags.corpus, store::Access::read);
  const int64_t generation = corpus.generations().require_active();
  const auto found = corpus.documents().find(generation, flags.document);
  OB_REQUIRE(found, NotFound, "{} has no document '{}'; `offbook inspect {}` lists them",
             flags.corpus, flags.document, flags.corpus);
  const Document& d = found->document;
  json out{{"id", d.id},
           {"path", d.path},
           {"title", d.title},
           {"type", d.media_type},
           {"source_bytes", d.source_bytes},
           {"text_bytes", found->text_bytes},
           {"passages", json::array()}};
  shell.say("{}\n  id {}\n  title {}\n  {}, {} of source, {} of text, {} passages", d.path, d.id,
            d.title, d.media_type, in_bytes(d.source_bytes), in_bytes(found->text_bytes),
            found->passage_count);
  say_learned(shell, corpus, *found, generation, out);
  if (flags.show_passages) {
    say_passages(shell, corpus.documents().passages(found->number), out);
  }
  shell.say_json(out);
}

void list_documents(const Shell& shell, const InspectFlags& flags) {
  store::Corpus corpus = shell.corpora().open(flags.corpus, store::Access::read);
  json list = json::array();
  for (const auto& d : corpus.documents().list(corpus.generations().require_active())) {
    list.push_back({{"id", d.document.id},
                    {"path", d.document.path},
                    {"title", d.document.title},
                    {"text_bytes", d.text_bytes},
                    {"passages", d.passage_count}});
    shell.say("{:48} {:>10}, {} passages", d.document.path, in_bytes(d.text_bytes),
              d.passage_count);
  }
  shell.say_json(list);
}

}  // namespace

void add_inspect(CLI::App& app, Shell& shell) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* command = add_command(
      app, shell, "inspect", "shows the documents of a corpus, or one of them",
      "  offbook inspect handbook\n  offbook inspect handbook minutes/2019.pdf --passages",
      [&shell, flags] {
        flags->document.empty() ? list_documents(shell, *flags) : inspect_document(shell, *flags);
      });
  command->add_option("corpus", flags->corpus, "name of the corpus")->required();
  command->add_option("document", flags->document, "path or id of a document");
  command->add_flag("--passages", flags->show_passages, "the passages with their text");
}

}  // namespace offbook::app
