#include "bench/bars/reference_rows.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string_view>

#include <fmt/format.h>
#include <sys/wait.h>

#include "src/base/error.h"
#include "src/metrics/reference_check.h"

namespace offbook::bars {
namespace {

constexpr double kTolerance = 1e-6;

void append_quoted(std::string& command, std::string_view argument) {
  command.push_back('\'');
  for (const char c : argument) {
    if (c == '\'') {
      command.append("'\\''");
    } else {
      command.push_back(c);
    }
  }
  command.append("' ");
}

// Standard output of the command, and its exit status.
std::pair<std::string, int> output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  OB_REQUIRE(pipe != nullptr, Io, "cannot run {}", command);
  std::string out;
  char buffer[1 << 16];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    out.append(buffer, n);
  }
  const int status = pclose(pipe);
  return {std::move(out), WIFEXITED(status) ? WEXITSTATUS(status) : 1};
}

bool has_flag(int argc, char** argv, std::string_view flag) {
  return std::any_of(argv + 1, argv + argc, [&](const char* a) { return a == flag; });
}

int report(const metrics::ReferenceCheck& check, const ReferenceBar& bar, bool is_quick) {
  double largest = 0;
  int64_t counted = bar.counted == "pair" ? check.pairs() : 0;
  for (const auto& [metric, difference] : check.differences()) {
    fmt::print("{:<36} {:>7} compared, largest difference {:.1e}\n", metric, difference.compared,
               difference.largest);
    if (difference.largest > kTolerance) {
      fmt::print("    {}\n", difference.worst);
    }
    largest = std::max(largest, difference.largest);
    if (bar.counted != "pair" && metric.starts_with(bar.counted)) {
      counted += difference.compared;
    }
  }
  const bool is_enough = is_quick ? counted > 0 : counted >= bar.least_rows;
  fmt::print("{} rows ({} wanted), largest difference {:.1e} (bar {:.0e})\n", counted,
             is_quick ? 1 : bar.least_rows, largest, kTolerance);
  return largest <= kTolerance && is_enough ? 0 : 1;
}

}  // namespace

int run_reference_bar(const ReferenceBar& bar, int argc, char** argv) {
  const char* python = std::getenv("OFFBOOK_PYTHON");
  std::string command;
  append_quoted(command, python != nullptr ? python : "python3");
  append_quoted(command, std::string(OB_BARS_DIRECTORY "/").append(bar.script));
  for (const std::string& input : bar.inputs) {
    append_quoted(command, input);
  }
  const bool is_quick = has_flag(argc, argv, "--quick");
  const auto [rows, status] = output_of(command.append(is_quick ? "--quick" : ""));
  if (status != 0) {
    fmt::print(stderr, "{} ended with {}\n", bar.script, status);
    return status == 4 ? 4 : 1;
  }
  using metrics::ReferenceCheck;
  ReferenceCheck check(has_flag(argc, argv, "--sabotage") ? ReferenceCheck::Product::broken
                                                          : ReferenceCheck::Product::as_it_is);
  std::istringstream lines(rows);
  try {
    check.read(lines, bar.script);
  } catch (const Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  return report(check, bar, is_quick);
}

}  // namespace offbook::bars
