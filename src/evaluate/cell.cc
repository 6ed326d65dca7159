#include "src/evaluate/cell.h"

#include <algorithm>
#include <cstdlib>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/compress/registry.h"

namespace offbook::evaluate {
namespace {

constexpr std::string_view kBefore[] = {"none"};
constexpr std::string_view kAtEqualTokens[] = {"truncate", "random", "rag"};

bool is_ours(std::string_view method) {
  return method == "none" || method == "full" || method == "rag" || method == "picked";
}

void check_method(std::string_view method) {
  std::string known = "none, full, rag, picked";
  for (const compress::Method& m : compress::methods()) {
    known += fmt::format(", {}", m.id);
    if (m.id == method) {
      return;
    }
  }
  OB_REQUIRE(is_ours(method), InvalidArgument, "no method is called {}; there are {}",
             printable(method), known);
}

void add_once(std::vector<std::string>& to, std::string_view name) {
  if (std::find(to.begin(), to.end(), name) == to.end()) {
    to.emplace_back(name);
  }
}

// Baselines first, then what was asked for, in its order.
std::vector<std::string> with_baselines(const CellOptions& options) {
  std::vector<std::string> methods;
  const bool has_compression =
      std::any_of(options.methods.begin(), options.methods.end(),
                  [](const std::string& m) { return m != "none" && m != "full"; });
  if (options.adds_baselines) {
    for (const std::string_view name : kBefore) {
      add_once(methods, name);
    }
    for (const std::string_view name : kAtEqualTokens) {
      if (has_compression) {
        add_once(methods, name);
      }
    }
  }
  for (const std::string& name : options.methods) {
    add_once(methods, name);
  }
  if (options.adds_baselines) {
    add_once(methods, "full");
  }
  return methods;
}

std::vector<Cell> budgets_of(const CellOptions& options, const Cell& cell) {
  if (cell.method == "none" || cell.method == "full") {
    return {cell};
  }
  std::vector<Cell> out;
  for (const int64_t budget : options.budgets) {
    out.push_back(cell);
    out.back().budget = budget;
  }
  for (size_t i = 0; options.budgets.empty() && i < options.ratios.size(); ++i) {
    out.push_back(cell);
    out.back().ratio = options.ratios[i];
  }
  return out;
}

// Windows × passages × ratios, one method.
std::vector<Cell> grid(const CellOptions& options, const std::vector<int64_t>& windows) {
  std::vector<Cell> out;
  for (const int64_t window : windows) {
    for (const int k : options.top_k) {
      for (const double ratio : options.compress) {
        Cell cell{.method = ratio > 1 ? options.grid_method : "full", .window = window, .top_k = k};
        cell.ratio = ratio > 1 ? ratio : 0;
        out.push_back(cell);
      }
    }
  }
  return out;
}

}  // namespace

std::string Cell::compressor() const {
  return method == "picked" ? "beacon" : is_ours(method) ? "" : method;
}

std::string Cell::group() const {
  std::string out;
  if (top_k > 0) {
    out += fmt::format(" k{}", top_k);
  }
  if (ratio > 0) {
    out += fmt::format(" {:g}x", ratio);
  }
  if (budget > 0) {
    out += fmt::format(" {}t", budget);
  }
  return out + fmt::format(" w{}", window);
}

std::string Cell::name() const {
  return method + group();
}

Cell cell_named(const std::string& name) {
  Cell out;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find(' ', begin), name.size());
    const std::string word = name.substr(begin, end - begin);
    if (begin == 0) {
      out.method = word;
    } else if (word.starts_with('k')) {
      out.top_k = std::atoi(word.c_str() + 1);
    } else if (word.starts_with('w')) {
      out.window = std::atoll(word.c_str() + 1);
    } else if (word.ends_with('x')) {
      out.ratio = std::atof(word.c_str());
    } else if (word.ends_with('t')) {
      out.budget = std::atoll(word.c_str());
    }
    begin = end + 1;
  }
  OB_REQUIRE(!out.method.empty() && out.name() == name, Corrupt, "{} names no row of a table",
             printable(name));
  return out;
}

std::vector<Cell> make_cells(const CellOptions& options) {
  std::vector<int64_t> windows = options.windows;
  if (windows.empty()) {
    windows = {options.model_window};
  }
  for (const int64_t window : windows) {
    OB_REQUIRE(window >= 128 && window <= options.model_window, InvalidArgument,
               "--windows: {} tokens; the model reads at most {} (and 128 are the least)", window,
               options.model_window);
  }
  for (const auto* ratios : {&options.ratios, &options.compress}) {
    for (const double ratio : *ratios) {
      OB_REQUIRE(ratio >= 1 && ratio <= 1000, InvalidArgument,
                 "a ratio is between 1 and 1000, not {:g}", ratio);
    }
  }
  for (const std::string& method : options.methods) {
    check_method(method);
  }
  if (!options.top_k.empty()) {
    check_method(options.grid_method);
    OB_REQUIRE(!is_ours(options.grid_method), InvalidArgument,
               "--with names what compresses the passages of a grid: a compression method, not {}",
               options.grid_method);
    return grid(options, windows);
  }
  std::vector<Cell> out;
  for (const int64_t window : windows) {
    for (const std::string& method : with_baselines(options)) {
      for (Cell& cell : budgets_of(options, {.method = method, .window = window})) {
        out.push_back(std::move(cell));
      }
    }
  }
  return out;
}

}  // namespace offbook::evaluate
