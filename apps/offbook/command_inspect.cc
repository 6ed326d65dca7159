// inspect
#include "apps/offbook/commands.h"

#include <memory>

#include "src/learn/choose_ratios.h"
#include "src/learn/fidelity.h"
#include "src/learn/grouping.h"

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

// Where each document has a ratio of its own.
void say_ratio(const Shell& shell, store::Corpus& corpus, int64_t document, int64_t generation,
               json& out) {
  out["ratio"] = nullptr;
  double tolerance = 0;
  for (const store::Generation& g : corpus.generations().list()) {
    const json compress = g.number == generation ? g.settings.value("compress", json()) : json();
    if (!compress.is_object() || compress.value("ratio", json()) != "auto") {
      continue;
    }
    tolerance = compress.value("tolerance", 0.0);
    for (const store::ChosenRatio& r : corpus.generations().ratios(generation)) {
      if (r.document == document && r.method == compress.value("method", "")) {
        out["ratio"] = {{"method", r.method},
                        {"ratio", r.ratio},
                        {"score", r.score},
                        {"probes", r.probes},
                        {"tolerance", tolerance}};
        shell.say("{}: {}", r.method, learn::reason_of(r, tolerance));
      }
    }
  }
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
  say_ratio(shell, corpus, d.number, generation, out);
  if (out["fidelity"].empty() && out["ratio"].is_null()) {
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
           {"group", learn::grouping_of(corpus, generation).group_of(d.path)},
           {"passages", json::array()}};
  shell.say("{}\n  id {}\n  title {}\n  {}, {} of source, {} of text, {} passages", d.path, d.id,
            d.title, d.media_type, in_bytes(d.source_bytes), in_bytes(found->text_bytes),
            found->passage_count);
  if (const std::string group = out["group"]; !group.empty()) {
    shell.say("  group {}", group);
  }
  say_learned(shell, corpus, *found, generation, out);
  if (flags.show_passages) {
    say_passages(shell, corpus.documents().passages(found->number), out);
  }
  shell.say_json(out);
}

// Id of the adapter that answers for a group: its own, else the generation's; empty for the base.
std::string adapter_for(store::Corpus& corpus, int64_t generation, const std::string& group) {
  for (const store::GroupAdapter& g : corpus.generations().group_adapters(generation)) {
    if (g.group == group && !g.is_stale) {
      return g.adapter;
    }
  }
  for (const store::Generation& g : corpus.generations().list()) {
    if (g.number == generation && !g.is_adapter_stale) {
      return g.adapter;
    }
  }
  return "";
}

void say_groups(const Shell& shell, store::Corpus& corpus, int64_t generation,
                const std::map<std::string, int64_t>& groups) {
  std::map<std::string, store::GroupAdapter> own;
  for (const store::GroupAdapter& g : corpus.generations().group_adapters(generation)) {
    own[g.group] = g;
  }
  for (const auto& [group, documents] : groups) {
    const std::string answers = adapter_for(corpus, generation, group);
    const std::string who = answers.empty() ? "the base model" : "adapter " + answers.substr(0, 8);
    const auto mine = own.find(group);
    shell.say("group {}: {} documents, {} answers{}", group.empty() ? "(none)" : group, documents,
              who,
              mine == own.end()       ? ""
              : mine->second.is_stale ? " (its own was trained on a document that was removed)"
                                      : " (" + mine->second.note + ")");
  }
}

void list_documents(const Shell& shell, const InspectFlags& flags) {
  store::Corpus corpus = shell.corpora().open(flags.corpus, store::Access::read);
  json list = json::array();
  const int64_t generation = corpus.generations().require_active();
  const learn::Grouping grouping = learn::grouping_of(corpus, generation);
  std::map<std::string, int64_t> groups;
  for (const auto& d : corpus.documents().list(generation)) {
    const std::string group = grouping.group_of(d.document.path);
    ++groups[group];
    list.push_back({{"id", d.document.id},
                    {"path", d.document.path},
                    {"title", d.document.title},
                    {"text_bytes", d.text_bytes},
                    {"passages", d.passage_count},
                    {"group", group},
                    {"adapter", adapter_for(corpus, generation, group)}});
    shell.say("{:48} {:>10}, {} passages", d.document.path, in_bytes(d.text_bytes),
              d.passage_count);
  }
  if (groups.size() > 1) {
    say_groups(shell, corpus, generation, groups);
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
