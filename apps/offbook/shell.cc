#include "apps/offbook/shell.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include <pthread.h>
#include <unistd.h>

#include "src/ingest/limits.h"

namespace offbook::app {
namespace {

using Clock = std::chrono::steady_clock;

std::stop_source& stop_source() {
  static std::stop_source source;  // a process has one Ctrl-C
  return source;
}
std::atomic<bool>& idle() {
  static std::atomic<bool> value{false};
  return value;
}

std::filesystem::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// $VARIABLE/offbook, else ~/otherwise/offbook.
std::filesystem::path base_directory(const char* variable, const char* otherwise) {
  const auto base = from_environment(variable);
  if (base.is_absolute()) {
    return base / "offbook";
  }
  const auto home = from_environment("HOME");
  return (home.empty() ? std::filesystem::path(".") : home) / otherwise / "offbook";
}

// Beside the program: share/offbook/models of an installation, models/ of the source tree it was
// built in. Empty where there is neither.
std::filesystem::path directory_of_shipped_models() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const char* relative : {"../share/offbook/models", "../../../../models"}) {
    const auto directory = (program / relative).lexically_normal();
    if (std::filesystem::is_directory(directory, ignored)) {
      return directory;
    }
  }
  return {};
}

void write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(file, text.data(), text.size());
    if (n <= 0) {
      return;  // whoever read it is gone
    }
    text.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace

Options options_from_environment() {
  Options options;
  const auto data = base_directory("XDG_DATA_HOME", ".local/share");
  options.corpora = data / "corpora";
  options.models = data / "models";
  if (const auto models = from_environment("OFFBOOK_MODELS"); !models.empty()) {
    options.models = models;
  }
  options.data = from_environment("OFFBOOK_DATA");
  if (options.data.empty()) {
    options.data = "../shared";
  }
  options.cache = base_directory("XDG_CACHE_HOME", ".cache");
  options.shipped_models = directory_of_shipped_models();
  return options;
}

std::filesystem::path default_config_file() {
  return base_directory("XDG_CONFIG_HOME", ".config") / "config.toml";
}

void Shell::write_result(std::string_view text) const {
  if (!options.json) {
    write_all(STDOUT_FILENO, text);
  }
}

void Shell::say_json(const nlohmann::json& result) const {
  if (options.json) {
    // Documents are UTF-8, paths need not be.
    write_all(STDOUT_FILENO,
              result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  }
}

void Shell::write_note(const std::string& line) const {
  if (!options.quiet) {
    write_all(STDERR_FILENO, line + "\n");
  }
}

void Shell::log(const nlohmann::json& event) const {
  if (options.log.empty()) {
    return;
  }
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  nlohmann::json line{{"time_ms", now.count()}, {"process", ::getpid()}};
  line.update(event);
  std::ofstream file(options.log, std::ios::app);
  file << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  file.flush();
  OB_REQUIRE(file.good(), Io, "cannot write the log file {}", options.log.string());
}

std::stop_token Shell::stop() const {
  return stop_source().get_token();
}

bool Shell::is_terminal() const {
  return ::isatty(STDERR_FILENO) == 1;
}

void watch_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // threads made later inherit it
  std::signal(SIGPIPE, SIG_IGN);
  std::thread([signals] {
    int signal = 0;
    while (sigwait(&signals, &signal) == 0) {
      if (idle() || stop_source().stop_requested()) {
        std::_Exit(static_cast<int>(ErrorCode::Cancelled));
      }
      stop_source().request_stop();
    }
  }).detach();
}

void set_idle(bool is_idle) {
  idle() = is_idle;
}

Progress::Progress(const Shell& shell, std::string what, std::string unit)
    : shell_(shell),
      what_(std::move(what)),
      unit_(std::move(unit)),
      began_(Clock::now()),
      shown_(began_) {}

Progress::~Progress() {
  if (is_shown_ || total_ > 0) {
    show(done_, total_, true);
  }
}

void Progress::update(double done, double total) {
  done_ = done;
  total_ = total;
  const double pause = shell_.is_terminal() ? 0.1 : 10;
  if (std::chrono::duration<double>(Clock::now() - shown_).count() >= pause) {
    show(done, total, false);
    shown_ = Clock::now();
  }
}

void Progress::show(double done, double total, bool is_last) {
  if (shell_.options.quiet) {
    return;
  }
  is_shown_ = true;
  const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  const double rate = seconds > 0 ? done / seconds : 0;
  const double share = total > 0 ? done / total : 1;
  std::string line = fmt::format("{}: {:.0f} of {:.0f} {} ({:.0f}%), {:.1f} {}/s", what_, done,
                                 total, unit_, 100 * share, rate, unit_);
  line += is_last ? ", took " + in_time(seconds)
                  : ", " + in_time(rate > 0 ? (total - done) / rate : 0) + " left";
  if (!shell_.is_terminal()) {
    write_all(STDERR_FILENO, line + "\n");
    return;
  }
  constexpr int kWidth = 24;
  const int full = static_cast<int>(share * kWidth);
  write_all(STDERR_FILENO, fmt::format("\r[{}{}] {}\x1b[K{}", std::string(full, '='),
                                       std::string(kWidth - full, ' '), line, is_last ? "\n" : ""));
}

std::string in_bytes(uint64_t bytes) {
  return ingest::format_bytes(bytes);
}

std::string in_time(double seconds) {
  if (seconds < 10) {
    return fmt::format("{:.1f} s", seconds);
  }
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60) {
    return fmt::format("{} s", whole);
  }
  return whole < 3600 ? fmt::format("{} min {} s", whole / 60, whole % 60)
                      : fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace offbook::app
