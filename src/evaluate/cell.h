// What a table has a row for: a way of giving a text to the reader, at one budget.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "src/retrieve/retriever.h"

namespace offbook::evaluate {

struct Cell {
  // "none", "full", "rag", "picked", or the id of a compression method.
  std::string method;
  // How much of the text is kept: at most ceil(tokens / ratio), or `budget` tokens; 0, 0: all.
  double ratio = 0;
  int64_t budget = 0;
  int64_t window = 0;  // of the reader, in tokens, prompt and answer included
  int top_k = 0;       // passages that stand for the document before anything else; 0: all of it
  std::string absent;  // why it cannot run; empty: it can

  bool has_budget() const noexcept { return ratio > 0 || budget > 0; }
  // The id of the compression method: that of the slots that are picked; "" for none, full, rag.
  std::string compressor() const;
  // "rag 16x", "quito 256t", "full w4096", "truncate k5 8x w2048".
  std::string name() const;
  // The same without the method: cells of one group compare.
  std::string group() const;
};

// What name() wrote. Corrupt for other text.
Cell cell_named(const std::string& name);

struct CellOptions {
  std::vector<std::string> methods;
  std::vector<double> ratios = {8, 16, 32};
  std::vector<int64_t> budgets;        // instead of ratios
  std::vector<int64_t> windows;        // empty: the model's
  std::vector<int> top_k;              // empty: no grid
  std::vector<double> compress = {1};  // of the grid
  std::string grid_method;             // what compresses in the grid
  int64_t model_window = 0;
  bool adds_baselines = true;
};

// Rows in the order of the table. The baselines none, truncate, random, rag at the same budgets and
// full stand beside whatever is asked for. InvalidArgument: an unknown method (the names there
// are), a window beyond the model's, ratios below 1.
std::vector<Cell> make_cells(const CellOptions& options);

}  // namespace offbook::evaluate
