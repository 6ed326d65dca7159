// The lines of a suite file. Internal to src/evaluate.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace offbook::evaluate::internal {

struct SuiteValue {
  std::string text;
  int line = 0;
};

struct SuiteKey {
  std::string name;
  SuiteValue value;
};

struct SuiteSection {
  std::string name;  // empty: what stands before the first heading
  int line = 0;
  std::vector<SuiteKey> keys;
};

// "[name]" begins a section; "key = value" gives a value, which goes on over the lines below that
// begin with two spaces (these are taken off; blank lines between stay); lines that begin with #
// are comments. Corrupt, with file and line, for anything else, a section twice, a key twice.
std::vector<SuiteSection> read_suite_file(std::string_view text, const std::string& file);

}  // namespace offbook::evaluate::internal
