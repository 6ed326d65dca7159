// What every bar shares: options, exit codes, and where data and models lie.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

namespace offbook::bars {

// Exit codes: 0 the bar holds, 1 it falls short, 3 needs a GPU, 4 data or a peer is missing.
enum Exit : int { kHolds = 0, kShort = 1, kNeedsGpu = 3, kMissing = 4 };

struct Options {
  bool quick = false;     // a smaller sample, the same figure
  bool sabotage = false;  // run on a product broken on purpose: must fall short
};

inline Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    o.quick = o.quick || std::string_view(argv[i]) == "--quick";
    o.sabotage = o.sabotage || std::string_view(argv[i]) == "--sabotage";
  }
  return o;
}

inline std::filesystem::path directory_from(const char* variable, const char* otherwise) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != 0 ? value : otherwise;
}
inline std::filesystem::path data_directory() { return directory_from("OFFBOOK_DATA", "../shared"); }
inline std::filesystem::path model_directory() { return directory_from("OFFBOOK_MODELS", "models"); }

}  // namespace offbook::bars
