// The commands: each adds itself to the command line and sets Shell::action when it is asked for.
#pragma once
#include "apps/offbook/shell.h"

#include <CLI/CLI.hpp>

namespace offbook::app {

void add_learn(CLI::App& app, Shell& shell);  // learn, ingest, index, compress
void add_train(CLI::App& app, Shell& shell);  // train, assess
void add_ask(CLI::App& app, Shell& shell);    // ask, chat
void add_search(CLI::App& app, Shell& shell);
void add_corpora(CLI::App& app, Shell& shell);  // corpora, rename, remove
void add_status(CLI::App& app, Shell& shell);   // status, diff
void add_inspect(CLI::App& app, Shell& shell);
void add_check(CLI::App& app, Shell& shell);     // check, rollback
void add_transfer(CLI::App& app, Shell& shell);  // export, import
void add_models(CLI::App& app, Shell& shell);
void add_train_compressor(CLI::App& app, Shell& shell);
void add_data(CLI::App& app, Shell& shell);  // data build
void add_evaluate(CLI::App& app, Shell& shell);
void add_bench(CLI::App& app, Shell& shell);
void add_completion(CLI::App& app, Shell& shell);

// A command with its one line of help and its examples, which runs `run` when it is asked for.
CLI::App* add_command(CLI::App& app, Shell& shell, const std::string& name, const std::string& help,
                      const std::string& examples, std::function<void()> run);

}  // namespace offbook::app
