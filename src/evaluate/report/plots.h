// Plots as SVG text: no script, no outside resource. Colours come from the page's style sheet
// (classes s0…s9), so that they follow light and dark.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace offbook::evaluate {

// Text made fit to stand in HTML and SVG.
std::string escaped(std::string_view text);

struct PlotPoint {
  double x = 0, y = 0;
  double low = 0, high = 0;  // of y; equal: no bar
  std::string label;         // shown when pointed at
};

struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;
  bool is_line = false;  // points are joined in the order of x
};

struct PlotOptions {
  std::string title, x_label, y_label;
  bool has_log_x = false;     // points with x ≤ 0 stand at the left end, marked 0
  bool has_diagonal = false;  // y = x, and the same range on both axes
  std::optional<double> y_low, y_high;
};

// Empty for no points.
std::string xy_plot(const PlotOptions& options, const std::vector<PlotSeries>& series);

struct HeatMap {
  std::string title, x_label, y_label;
  std::vector<std::string> columns, rows;
  // rows × columns, in [0, 1]; absent: not measured.
  std::vector<std::optional<double>> values;
};
std::string heat_map(const HeatMap& map);

}  // namespace offbook::evaluate
