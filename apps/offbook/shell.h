// What every command shares: global options, output, progress, stopping.
#pragma once
#include <chrono>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/base/error.h"
#include "src/store/corpora.h"

namespace offbook::app {

// Global options as given; directories have the environment's defaults already.
struct Options {
  std::filesystem::path corpora, models, cache, data;
  std::filesystem::path shipped_models;         // compressor weights that came with the program
  std::string model = "smollm2-135m-instruct";  // in the model directory, or a path
  std::string encoder = "all-minilm-l6-v2";
  std::string chat_template;  // empty: the model's own
  std::string device = "auto";
  uint64_t gpu_memory_bytes = 0;     // 0: what the card has free
  std::string gpu_weights = "auto";  // or bf16, stored
  bool profile = false;              // say where the time of passes went
  int threads = 0;  // 0: as many as the machine has
  bool json = false;
  bool quiet = false;
  std::filesystem::path log;  // empty: none
};

// Defaults from OFFBOOK_MODELS, OFFBOOK_DATA, XDG_DATA_HOME, XDG_CACHE_HOME and HOME; the only place of the
// program that reads them.
Options options_from_environment();
// $XDG_CONFIG_HOME/offbook/config.toml or ~/.config/offbook/config.toml.
std::filesystem::path default_config_file();

// One command's way to the outside. Results go to standard output, everything else to standard
// error.
class Shell {
 public:
  Options options;
  std::function<void()> action;  // set by the command that was asked for

  // A line of the result for people; nothing with --json.
  template <typename... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) const {
    write_result(fmt::format(format, std::forward<Args>(args)...) + "\n");
  }
  // A part of a result, at once.
  void write_result(std::string_view text) const;
  // The whole result for programs; nothing without --json.
  void say_json(const nlohmann::json& result) const;
  // What goes on, for people; nothing with --quiet.
  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) const {
    write_note(fmt::format(format, std::forward<Args>(args)...));
  }
  void write_note(const std::string& line) const;
  // A line of the log file: what happened, with ids and timings; never a document's or a user's
  // text.
  void log(const nlohmann::json& event) const;

  store::Corpora corpora() const { return store::Corpora(options.corpora); }
  std::stop_token stop() const;

  bool is_terminal() const;  // is standard error one
};

// From now on Ctrl-C and SIGTERM ask to stop; a second one ends the process at once, which the
// corpus survives. Call once, before any thread is made.
void watch_signals();
// While true a signal ends the process at once: nothing is in hand (chat waits for a line).
void set_idle(bool is_idle);

// Shows how far long work is: a bar with rate and time left on a terminal, else a plain line every
// ten seconds and one at the end.
class Progress {
 public:
  Progress(const Shell& shell, std::string what, std::string unit);
  ~Progress();
  void update(double done, double total);

 private:
  void show(double done, double total, bool is_last);

  const Shell& shell_;
  std::string what_, unit_;
  std::chrono::steady_clock::time_point began_, shown_;
  double done_ = 0, total_ = 0;
  bool is_shown_ = false;
};

// "1.5 GiB", "3 min 20 s".
std::string in_bytes(uint64_t bytes);
std::string in_time(double seconds);

}  // namespace offbook::app
