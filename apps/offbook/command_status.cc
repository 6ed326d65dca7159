// status, diff
#include "apps/offbook/commands.h"

#include <memory>

#include "src/ingest/folder.h"
#include "src/store/check.h"

namespace offbook::app {
namespace {

using nlohmann::json;

std::string_view name_of(store::GenerationState state) {
  static constexpr std::string_view kNames[] = {"being built", "answers", "old", "not used"};
  return kNames[static_cast<size_t>(state)];
}

void say_generations(const Shell& shell, store::Corpus& corpus, json& out) {
  out["generations"] = json::array();
  for (const store::Generation& g : corpus.generations().list()) {
    out["generations"].push_back({{"number", g.number},
                                  {"state", name_of(g.state)},
                                  {"documents", g.document_count},
                                  {"adapter", g.adapter},
                                  {"is_adapter_stale", g.is_adapter_stale},
                                  {"note", g.note}});
    shell.say("generation {}: {}, {} documents{}{}", g.number, name_of(g.state), g.document_count,
              g.adapter.empty()    ? ""
              : g.is_adapter_stale ? ", adapter stale"
                                   : ", with adapter",
              g.note.empty() ? "" : " (" + g.note + ")");
  }
}

void say_stages(const Shell& shell, store::Corpus& corpus, json& out) {
  for (const char* stage :
       {store::kStageIngest, store::kStageIndex, store::kStageCompress, store::kStageTrain}) {
    const store::JobCounts c = corpus.jobs().counts(stage);
    if (c.pending + c.running + c.done + c.failed == 0) {
      continue;
    }
    out["stages"][stage] = {
        {"pending", c.pending + c.running}, {"done", c.done}, {"failed", c.failed}};
    shell.say("{}: {} done, {} to do, {} failed", stage, c.done, c.pending + c.running, c.failed);
  }
}

uint64_t bytes_of(const std::filesystem::path& directory) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    bytes += entry.is_regular_file() ? entry.file_size() : 0;
  }
  return bytes;
}

void run_status(const Shell& shell, const std::string& name) {
  store::Corpus corpus = shell.corpora().open(name, store::Access::read);
  json out{{"corpus", name},
           {"folder", corpus.setting("source.folder").value_or("")},
           {"disk_bytes", bytes_of(corpus.directory())}};
  shell.say("{}: {} on disk, learned from {}", name, in_bytes(out["disk_bytes"].get<uint64_t>()),
            out["folder"].get<std::string>());
  say_generations(shell, corpus, out);
  say_stages(shell, corpus, out);
  if (corpus.generations().building()) {
    shell.say("A generation is being built; run `offbook learn` again to finish it.");
  }
  shell.say_json(out);
}

std::vector<ingest::KnownFile> known_files(store::Corpus& corpus) {
  std::vector<ingest::KnownFile> known;
  const auto active = corpus.generations().active();
  for (const store::StoredDocument& d :
       active ? corpus.documents().list(active->number) : std::vector<store::StoredDocument>{}) {
    known.push_back({d.document.path, d.document.source_bytes, d.document.modified_ns,
                     d.document.content_hash});
  }
  return known;
}

struct DiffFlags {
  std::string corpus;
  std::filesystem::path folder;
};

void run_diff(const Shell& shell, const DiffFlags& flags) {
  store::Corpus corpus = shell.corpora().open(flags.corpus, store::Access::read);
  const std::filesystem::path folder =
      flags.folder.empty() ? std::filesystem::path(corpus.setting("source.folder").value_or(""))
                           : flags.folder;
  OB_REQUIRE(!folder.empty(), InvalidArgument,
             "{} does not know its folder yet; name one: offbook diff {} FOLDER", flags.corpus,
             flags.corpus);
  const auto changes = ingest::compare_folder(folder, ingest::list_folder(folder, {}).files,
                                              known_files(corpus), shell.stop());
  json out{{"folder", folder.string()}};
  const auto say_all = [&](const char* key, const char* sign, const auto& files) {
    out[key] = json::array();
    for (const auto& f : files) {
      out[key].push_back(f.path);
      shell.say("{} {}", sign, f.path);
    }
  };
  say_all("added", "+", changes.added);
  say_all("changed", "~", changes.changed);
  say_all("removed", "-", changes.removed);
  out["unchanged"] = changes.unchanged.size();
  shell.say("{} unchanged", changes.unchanged.size());
  shell.say_json(out);
}

}  // namespace

void add_status(CLI::App& app, Shell& shell) {
  auto name = std::make_shared<std::string>();
  add_command(app, shell, "status", "says what a corpus holds and what is left to do",
              "  offbook status handbook", [&shell, name] { run_status(shell, *name); })
      ->add_option("corpus", *name, "name of the corpus")
      ->required();
  auto flags = std::make_shared<DiffFlags>();
  CLI::App* command = add_command(app, shell, "diff", "compares a corpus with its folder",
                                  "  offbook diff handbook\n  offbook diff handbook ./docs",
                                  [&shell, flags] { run_diff(shell, *flags); });
  command->add_option("corpus", flags->corpus, "name of the corpus")->required();
  command->add_option("folder", flags->folder, "default: the folder it was learned from");
}

}  // namespace offbook::app
