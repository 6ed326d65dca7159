// search
#include "apps/offbook/commands.h"
#include "apps/offbook/engines.h"

#include <memory>

namespace offbook::app {
namespace {

using nlohmann::json;

struct SearchFlags {
  std::string corpus, query, mode = "hybrid";
  retrieve::RetrieveOptions options;
};

json as_json(const retrieve::RankedPassage& p) {
  json out{{"passage", p.passage.id},
           {"file", p.path},
           {"headings", p.passage.headings},
           {"begin", p.passage.span.begin},
           {"end", p.passage.span.end},
           {"score", p.score},
           {"cosine", p.cosine},
           {"bm25", p.bm25},
           {"text", p.passage.text}};
  if (p.passage.page) {
    out["page"] = *p.passage.page;
  }
  if (p.text_rank) {
    out["text_rank"] = *p.text_rank;
  }
  if (p.dense_rank) {
    out["dense_rank"] = *p.dense_rank;
  }
  return out;
}

void run(const Shell& shell, SearchFlags& flags) {
  flags.options.mode = retrieve::mode_named(flags.mode);
  Engines engines(shell);
  OpenCorpus open(shell, engines, flags.corpus, false);
  const retrieve::Retrieval found = open.retriever->retrieve(flags.query, flags.options);
  json hits = json::array();
  for (const retrieve::RankedPassage& p : found.passages) {
    hits.push_back(as_json(p));
    const Citation place{.path = p.path, .headings = p.passage.headings, .page = p.passage.page};
    shell.say("{}. {} (words {}, meaning {}, cosine {:.2f})\n{}\n", hits.size(),
              answer::place_of(place), p.text_rank ? std::to_string(*p.text_rank) : "-",
              p.dense_rank ? std::to_string(*p.dense_rank) : "-", p.cosine, p.passage.text);
  }
  if (hits.empty()) {
    shell.say("nothing found");
  }
  shell.say_json({{"passages", hits}, {"words", found.words}});
}

}  // namespace

void add_search(CLI::App& app, Shell& shell) {
  auto flags = std::make_shared<SearchFlags>();
  CLI::App* command = add_command(app, shell, "search", "finds passages, without a language model",
                                  "  offbook search handbook \"class sizes\" --top 3\n"
                                  "  offbook search handbook Condorcet --mode words --json",
                                  [&shell, flags] { run(shell, *flags); });
  command->add_option("corpus", flags->corpus, "name of the corpus")->required();
  command->add_option("query", flags->query)->required();
  command->add_option("--top", flags->options.top_k, "passages to find")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--mode", flags->mode, "words, meaning or hybrid")->capture_default_str();
  command->add_option("--file", flags->options.path_globs,
                      "only documents whose path matches (shell pattern; repeatable)");
}

}  // namespace offbook::app
