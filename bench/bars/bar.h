// What every bar shares: options, exit codes, and where data and models lie.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace offbook::bars {

// Exit codes: 0 the bar holds, 1 it falls short, 3 needs a GPU, 4 data or a peer is missing.
enum Exit : int { kHolds = 0, kShort = 1, kNeedsGpu = 3, kMissing = 4 };

struct Options {
  bool quick = false;          // a smaller sample, the same figure
  bool sabotage = false;       // run on a product broken on purpose: must fall short
  bool apart = false;          // bars of answers: passages read apart, not together
  std::string device = "cpu";  // --device NAME: bars that say so in their usage
  std::vector<std::string>
      names;  // arguments that are no options: parts of a bar, where it has some

  // Is this part of the bar to be run: all are where none is named.
  bool asks_for(std::string_view name) const {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  }
};

inline Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    o.quick = o.quick || argument == "--quick";
    o.sabotage = o.sabotage || argument == "--sabotage";
    o.apart = o.apart || argument == "--apart";
    if (argument == "--device" && i + 1 < argc) {
      o.device = argv[++i];
      continue;
    }
    if (!argument.starts_with("--")) {
      o.names.emplace_back(argument);
    }
  }
  return o;
}

// What main() of a bar returns: the bar's own exit code, 2 with a message for an error.
inline int run_bar(int argc, char** argv, int (*run)(const Options&)) {
  try {
    return run(parse(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}

inline std::filesystem::path directory_from(const char* variable, const char* otherwise) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != 0 ? value : otherwise;
}
inline int64_t number(const char* variable, int64_t otherwise) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != 0 ? std::strtoll(value, nullptr, 10) : otherwise;
}
inline std::filesystem::path data_directory() {
  return directory_from("OFFBOOK_DATA", "../shared");
}
// As the program finds them (apps/offbook/shell.cc): OFFBOOK_MODELS, else the user's data folder.
inline std::filesystem::path model_directory() {
  const auto home = directory_from("HOME", "") / ".local/share";
  const auto data = directory_from("XDG_DATA_HOME", home.c_str());
  return directory_from("OFFBOOK_MODELS", (data / "offbook/models").c_str());
}

}  // namespace offbook::bars
