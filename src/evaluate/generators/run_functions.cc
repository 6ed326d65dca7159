#include <charconv>
#include <unordered_map>

#include "src/base/error.h"
#include "src/evaluate/generators/infinitebench.h"

namespace offbook::evaluate {
namespace {

struct Function {
  int64_t inner = -1;  // −1: x itself
  int64_t add = 0;
};

class LineReader {
 public:
  LineReader(std::string_view line, int number) : rest_(line), number_(number) {}

  bool take(std::string_view what) {
    if (!rest_.starts_with(what)) {
      return false;
    }
    rest_.remove_prefix(what.size());
    return true;
  }
  void want(std::string_view what) {
    OB_REQUIRE(take(what), Corrupt, "line {}: wanted \"{}\"", number_, what);
  }
  int64_t number() {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    OB_REQUIRE(error == std::errc(), Corrupt, "line {}: wanted a number", number_);
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return value;
  }
  void end() {
    OB_REQUIRE(rest_.empty(), Corrupt, "line {}: more than a function's line holds", number_);
  }

 private:
  std::string_view rest_;
  int number_;
};

Function body_of(LineReader line) {
  Function out;
  line.want("    return ");
  if (line.take("func_")) {
    out.inner = line.number();
    line.want("(x)");
  } else {
    line.want("x");
  }
  if (line.take(" + ")) {
    out.add = line.number();
  } else if (line.take(" - ")) {
    out.add = -line.number();
  }
  line.end();
  return out;
}

std::unordered_map<int64_t, Function> parse(std::string_view code) {
  std::unordered_map<int64_t, Function> out;
  int64_t name = -1;
  int number = 0;
  while (!code.empty()) {
    const size_t end = std::min(code.find('\n'), code.size());
    LineReader line(code.substr(0, end), ++number);
    code.remove_prefix(std::min(end + 1, code.size()));
    if (end == 0) {
      continue;
    }
    if (name >= 0) {
      out[name] = body_of(line);
      name = -1;
      continue;
    }
    line.want("def func_");
    name = line.number();
    line.want("(x):");
    line.end();
  }
  return out;
}

}  // namespace

int64_t run_functions(std::string_view code, int64_t name, int64_t x) {
  const std::unordered_map<int64_t, Function> functions = parse(code);
  for (size_t calls = 0; name >= 0; ++calls) {
    OB_REQUIRE(calls <= functions.size(), Corrupt, "func_{} calls itself in a circle", name);
    const auto found = functions.find(name);
    OB_REQUIRE(found != functions.end(), Corrupt, "there is no func_{}", name);
    x += found->second.add;
    name = found->second.inner;
  }
  return x;
}

}  // namespace offbook::evaluate
