// completion, and what all commands share of the command line
#include "apps/offbook/commands.h"

#include <cstdio>
#include <memory>

namespace offbook::app {
namespace {

std::string options_of(const CLI::App& app) {
  std::string words;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      words += " --" + name;
    }
  }
  return words;
}

// Places: commands, a case for each command, global options.
constexpr const char* kScript = R"sh(# bash completion of offbook: eval "$(offbook completion)"
_offbook() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]}}" words="" parts="" names
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{}" -- "$word"))
    return
  fi
  case "$command" in
{}  esac
  if [[ "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$words{}" -- "$word"))
  elif [ -n "$parts" ]; then
    COMPREPLY=($(compgen -W "$parts" -- "$word"))
  else
    names=$(offbook corpora --quiet 2>/dev/null | cut -d' ' -f1)
    COMPREPLY=($(compgen -W "$names" -- "$word") $(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _offbook offbook
)sh";

std::string names_of(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : app.get_subcommands({})) {
    names += (names.empty() ? "" : " ") + command->get_name();
  }
  return names;
}

// Commands, their parts and options, and names of corpora after a command that takes one.
std::string bash_script(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* command : app.get_subcommands({})) {
    cases += fmt::format("    {}) words=\"{}\" parts=\"{}\" ;;\n", command->get_name(),
                         options_of(*command), names_of(*command));
  }
  return fmt::format(kScript, names_of(app), cases, options_of(app));
}

}  // namespace

CLI::App* add_command(CLI::App& app, Shell& shell, const std::string& name, const std::string& help,
                      const std::string& examples, std::function<void()> run) {
  CLI::App* command = app.add_subcommand(name, help);
  command->footer("Examples:\n" + examples);
  command->callback([&shell, run = std::move(run)] { shell.action = run; });
  return command;
}

void add_completion(CLI::App& app, Shell& shell) {
  add_command(
      app, shell, "completion", "prints a completion script for bash (and zsh's bashcompinit)",
      "  eval \"$(offbook completion)\"", [&app] { std::fputs(bash_script(app).c_str(), stdout); });
}

}  // namespace offbook::app
