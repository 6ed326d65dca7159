// The suites that come with offbook (suites/*.suite), compiled in.
#pragma once
#include <span>
#include <string_view>

namespace offbook::evaluate {

struct BuiltinSuite {
  std::string_view name;
  std::string_view text;
};

std::span<const BuiltinSuite> builtin_suites();

}  // namespace offbook::evaluate
