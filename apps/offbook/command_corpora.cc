// corpora, rename, remove
#include "apps/offbook/commands.h"

#include <memory>

#include "src/store/check.h"

namespace offbook::app {
namespace {

using nlohmann::json;

void run_corpora(const Shell& shell) {
  json list = json::array();
  for (const std::string& name : shell.corpora().list()) {
    try {
      store::Corpus corpus = shell.corpora().open(name, store::Access::read);
      const auto active = corpus.generations().active();
      const int64_t documents = active ? active->document_count : 0;
      list.push_back({{"name", name},
                      {"generation", active ? active->number : 0},
                      {"documents", documents},
                      {"passages", corpus.documents().passage_count()}});
      shell.say("{:24} {} documents, generation {}", name, documents,
                active ? std::to_string(active->number) : "none yet");
    } catch (const Error& e) {  // one damaged corpus must not hide the others
      list.push_back({{"name", name}, {"error", e.what()}});
      shell.say("{:24} {}", name, e.what());
    }
  }
  if (list.empty()) {
    shell.say("no corpora in {}; `offbook learn FOLDER --into NAME` makes one",
              shell.options.corpora.string());
  }
  shell.say_json(list);
}

struct RemoveFlags {
  std::string corpus;
  std::vector<std::string> documents;
  bool whole = false;
};

void remove_documents(const Shell& shell, const RemoveFlags& flags) {
  store::Corpus corpus = shell.corpora().open(flags.corpus, store::Access::write);
  const auto building = corpus.generations().building();
  const int64_t generation = building ? building->number : corpus.generations().require_active();
  std::vector<std::string> ids;
  for (const std::string& name : flags.documents) {
    const auto document = corpus.documents().find(generation, name);
    OB_REQUIRE(document, NotFound, "{} has no document '{}'; nothing was removed", flags.corpus,
               name);
    ids.push_back(document->document.id);
  }
  for (const std::string& id : ids) {
    corpus.remove_document(id);
  }
  const store::Garbage garbage = store::collect_garbage(corpus);
  shell.say("{} documents removed, {} freed", ids.size(), in_bytes(garbage.bytes));
  shell.say_json({{"removed", ids.size()}, {"freed_bytes", garbage.bytes}});
  shell.log({{"event", "remove"}, {"corpus", flags.corpus}, {"documents", ids}});
}

void run_remove(const Shell& shell, const RemoveFlags& flags) {
  OB_REQUIRE(flags.whole != !flags.documents.empty(), InvalidArgument,
             "name the documents to remove, or give --all to remove the whole corpus {}",
             flags.corpus);
  if (!flags.whole) {
    remove_documents(shell, flags);
    return;
  }
  shell.corpora().remove(flags.corpus);
  shell.say("corpus {} removed", flags.corpus);
  shell.say_json({{"removed_corpus", flags.corpus}});
  shell.log({{"event", "remove"}, {"corpus", flags.corpus}});
}

}  // namespace

void add_corpora(CLI::App& app, Shell& shell) {
  add_command(app, shell, "corpora", "lists the corpora", "  offbook corpora",
              [&shell] { run_corpora(shell); });

  auto names = std::make_shared<std::pair<std::string, std::string>>();
  CLI::App* command = add_command(app, shell, "rename", "gives a corpus another name",
                                  "  offbook rename handbook staff-handbook", [&shell, names] {
                                    shell.corpora().rename(names->first, names->second);
                                    shell.say("{} is called {} now", names->first, names->second);
                                    shell.say_json({{"from", names->first}, {"to", names->second}});
                                  });
  command->add_option("from", names->first)->required();
  command->add_option("to", names->second)->required();

  auto flags = std::make_shared<RemoveFlags>();
  command = add_command(app, shell, "remove", "removes documents, or a whole corpus",
                        "  offbook remove handbook minutes/2019.pdf\n"
                        "  offbook remove handbook --all",
                        [&shell, flags] { run_remove(shell, *flags); });
  command->add_option("corpus", flags->corpus, "name of the corpus")->required();
  command->add_option("documents", flags->documents, "paths or ids of documents");
  command->add_flag("--all", flags->whole, "the whole corpus, with everything learned");
}

}  // namespace offbook::app
