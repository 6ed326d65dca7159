// check, rollback
#include "apps/offbook/commands.h"

#include <memory>

#include "src/store/check.h"

namespace offbook::app {
namespace {

using nlohmann::json;

struct CheckFlags {
  std::string corpus;
  bool repair = false;
};

void run_check(const Shell& shell, const CheckFlags& flags) {
  store::Corpus corpus =
      shell.corpora().open(flags.corpus, flags.repair ? store::Access::write : store::Access::read);
  const store::CheckReport report = store::check(corpus, flags.repair);
  json findings = json::array();
  for (const store::Finding& f : report.findings) {
    findings.push_back(
        {{"what", f.what}, {"is_damage", f.is_damage}, {"is_repaired", f.is_repaired}});
    shell.say("{}{}: {}", f.is_damage ? "damage" : "left over", f.is_repaired ? ", repaired" : "",
              f.what);
  }
  shell.say("{} documents, {} passages and {} artefacts looked at: {}", report.documents,
            report.passages, report.artefacts, report.is_sound() ? "sound" : "damaged");
  if (report.shelf_entries > 0) {
    shell.say("{} of what was computed of passages are kept for questions to come, in {} files",
              in_bytes(report.shelf_bytes), report.shelf_entries);
  }
  shell.say_json({{"findings", findings},
                  {"documents", report.documents},
                  {"passages", report.passages},
                  {"artefacts", report.artefacts},
                  {"shelf_entries", report.shelf_entries},
                  {"shelf_bytes", report.shelf_bytes},
                  {"is_sound", report.is_sound()}});
  OB_REQUIRE(report.is_sound(), Corrupt, "corpus {} is damaged{}", flags.corpus,
             flags.repair ? "; what is left cannot be repaired, learn the folder again"
                          : "; `offbook check " + flags.corpus + " --repair` repairs what it can");
  if (flags.repair && !report.findings.empty()) {
    shell.note("what was dropped comes back with `offbook learn` (or index)");
  }
}

}  // namespace

void add_check(CLI::App& app, Shell& shell) {
  auto flags = std::make_shared<CheckFlags>();
  CLI::App* command = add_command(app, shell, "check", "looks for damage in a corpus",
                                  "  offbook check handbook\n  offbook check handbook --repair",
                                  [&shell, flags] { run_check(shell, *flags); });
  command->add_option("corpus", flags->corpus, "name of the corpus")->required();
  command->add_flag("--repair", flags->repair, "drop what is damaged, so that it is made again");

  auto name = std::make_shared<std::string>();
  add_command(app, shell, "rollback", "lets the generation before answer again",
              "  offbook rollback handbook",
              [&shell, name] {
                store::Corpus corpus = shell.corpora().open(*name, store::Access::write);
                const int64_t number = corpus.generations().rollback();
                shell.say("generation {} of {} answers now", number, *name);
                shell.say_json({{"generation", number}});
                shell.log({{"event", "rollback"}, {"corpus", *name}, {"generation", number}});
              })
      ->add_option("corpus", *name, "name of the corpus")
      ->required();
}

}  // namespace offbook::app
