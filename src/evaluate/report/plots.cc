#include "src/evaluate/report/plots.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace offbook::evaluate {
namespace {

constexpr double kWidth = 460, kHeight = 300;
constexpr double kLeft = 52, kRight = 14, kTop = 34, kBottom = 44;
constexpr int kColours = 12;  // .s0 … .s11 of the page

// One axis: values to pixels, and where its ticks are.
class Axis {
 public:
  Axis(double low, double high, double from, double to, bool is_log)
      : from_(from), to_(to), is_log_(is_log) {
    if (is_log_) {
      low_ = std::log2(low);
      high_ = std::log2(high);
    } else {
      low_ = low;
      high_ = high;
    }
    if (high_ - low_ < 1e-12) {
      high_ = low_ + 1;
    }
  }
  double at(double value) const {
    const double v = is_log_ ? (value > 0 ? std::log2(value) : low_) : value;
    return from_ + (std::clamp(v, low_, high_) - low_) / (high_ - low_) * (to_ - from_);
  }
  std::vector<double> ticks() const {
    std::vector<double> out;
    if (is_log_) {
      const double step = std::max(1.0, std::ceil((high_ - low_) / 7));
      for (double e = std::ceil(low_); e <= high_ + 1e-9; e += step) {
        out.push_back(std::exp2(e));
      }
      return out;
    }
    const double raw = (high_ - low_) / 5;
    const double power = std::pow(10, std::floor(std::log10(raw)));
    double step = power;
    for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
      step = factor * power;
      if (step >= raw) {
        break;
      }
    }
    for (double v = std::ceil(low_ / step) * step; v <= high_ + step * 1e-6; v += step) {
      out.push_back(std::abs(v) < step * 1e-6 ? 0 : v);
    }
    return out;
  }

 private:
  double from_, to_;
  bool is_log_;
  double low_ = 0, high_ = 1;
};

std::string tick_text(double value) {
  if (value >= 10'000) {
    return fmt::format("{:g}k", value / 1000);
  }
  return fmt::format("{:.4g}", value);
}

struct Range {
  double low = 0, high = 0;
  bool is_set = false;
  void add(double v) {
    low = is_set ? std::min(low, v) : v;
    high = is_set ? std::max(high, v) : v;
    is_set = true;
  }
};

std::string opening(double width, double height, const std::string& title) {
  return fmt::format(
      "<svg class=\"plot\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">"
      "<text class=\"title\" x=\"{:.0f}\" y=\"18\">{}</text>",
      width, height, escaped(title), kLeft, escaped(title));
}

class XyPlot {
 public:
  XyPlot(const PlotOptions& options, const std::vector<PlotSeries>& series)
      : options_(options), series_(series), x_(make_x()), y_(make_y()) {}

  std::string draw() const {
    const double height = kHeight + legend_rows() * 16;
    std::string out = opening(kWidth, height, options_.title);
    grid(out);
    if (options_.has_diagonal) {
      const Range r = both();
      out += fmt::format(
          "<line class=\"diagonal\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>",
          x_.at(r.low), y_.at(r.low), x_.at(r.high), y_.at(r.high));
    }
    for (size_t i = 0; i < series_.size(); ++i) {
      one(i, out);
    }
    legend(out);
    return out + "</svg>";
  }

 private:
  Range range(bool of_x) const {
    Range r;
    for (const PlotSeries& series : series_) {
      for (const PlotPoint& p : series.points) {
        if (of_x) {
          if (!options_.has_log_x || p.x > 0) {
            r.add(p.x);
          }
        } else {
          r.add(p.y);
          r.add(p.low == p.high ? p.y : p.low);
          r.add(p.low == p.high ? p.y : p.high);
        }
      }
    }
    return r;
  }
  Range both() const {
    Range r = range(true);
    const Range y = range(false);
    r.add(y.low);
    r.add(y.high);
    return r;
  }
  static double margin(const Range& r) { return std::max((r.high - r.low) * 0.06, 1e-3); }
  Axis make_x() const {
    Range r = options_.has_diagonal ? both() : range(true);
    if (!r.is_set) {
      r = {1, 2, true};
    }
    if (options_.has_log_x) {
      // A place for 0 left of the least.
      return Axis(r.low / 2, r.high * 1.2, kLeft, kWidth - kRight, true);
    }
    if (options_.has_diagonal) {
      return Axis(r.low - margin(r), r.high + margin(r), kLeft, kWidth - kRight, false);
    }
    const double space = (r.high - r.low) * 0.05;
    return Axis(std::min(r.low, std::max(0.0, r.low - space)), r.high + space, kLeft,
                kWidth - kRight, false);
  }
  Axis make_y() const {
    const Range r = options_.has_diagonal ? both() : range(false);
    const double space = margin(r);
    return Axis(options_.y_low.value_or(r.low - space), options_.y_high.value_or(r.high + space),
                kHeight - kBottom, kTop, false);
  }

  void grid(std::string& out) const {
    for (const double v : y_.ticks()) {
      out += fmt::format(
          "<line class=\"grid\" x1=\"{0:.0f}\" x2=\"{1:.0f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
          "<text class=\"tick end\" x=\"{3:.0f}\" y=\"{4:.1f}\">{5}</text>",
          kLeft, kWidth - kRight, y_.at(v), kLeft - 6, y_.at(v) + 4, tick_text(v));
    }
    for (const double v : x_.ticks()) {
      out += fmt::format("<text class=\"tick middle\" x=\"{:.1f}\" y=\"{:.0f}\">{}</text>",
                         x_.at(v), kHeight - kBottom + 16, tick_text(v));
    }
    out += fmt::format(
        "<line class=\"axis\" x1=\"{0:.0f}\" x2=\"{1:.0f}\" y1=\"{2:.0f}\" y2=\"{2:.0f}\"/>"
        "<text class=\"label middle\" x=\"{3:.0f}\" y=\"{4:.0f}\">{5}</text>"
        "<text class=\"label middle\" transform=\"translate(14 {6:.0f}) rotate(-90)\">{7}</text>",
        kLeft, kWidth - kRight, kHeight - kBottom, (kLeft + kWidth - kRight) / 2,
        kHeight - kBottom + 34, escaped(options_.x_label), (kTop + kHeight - kBottom) / 2,
        escaped(options_.y_label));
  }

  void one(size_t number, std::string& out) const {
    const PlotSeries& series = series_[number];
    std::vector<PlotPoint> points = series.points;
    std::stable_sort(points.begin(), points.end(),
                     [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
    // Methods at one budget would hide each other's intervals.
    const double aside =
        series.is_line
            ? (static_cast<double>(number) - static_cast<double>(series_.size() - 1) / 2) *
                  std::min(2.0, 16.0 / static_cast<double>(series_.size()))
            : 0;
    const auto x_of = [&](const PlotPoint& p) { return x_.at(p.x) + aside; };
    out += fmt::format("<g class=\"s{}\">", number % kColours);
    if (series.is_line && points.size() > 1) {
      out += "<polyline points=\"";
      for (const PlotPoint& p : points) {
        out += fmt::format("{:.1f},{:.1f} ", x_of(p), y_.at(p.y));
      }
      out += "\"/>";
    }
    for (const PlotPoint& p : points) {
      if (p.low < p.high) {
        out += fmt::format(
            "<line class=\"bar\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" "
            "y2=\"{2:.1f}\"/>",
            x_of(p), y_.at(p.low), y_.at(p.high));
      }
      out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}</title></circle>",
                         x_of(p), y_.at(p.y), escaped(p.label));
    }
    out += "</g>";
  }

  static constexpr int kPerRow = 3;
  double legend_rows() const {
    return series_.size() < 2 ? 0 : std::ceil(static_cast<double>(series_.size()) / kPerRow);
  }
  void legend(std::string& out) const {
    if (series_.size() < 2) {
      return;
    }
    for (size_t i = 0; i < series_.size(); ++i) {
      const double x = kLeft + static_cast<double>(i % kPerRow) * 134;
      const double y = kHeight + 6 + static_cast<double>(i / kPerRow) * 16;
      out += fmt::format(
          "<g class=\"s{}\"><circle cx=\"{:.0f}\" cy=\"{:.0f}\" r=\"4\"/></g>"
          "<text class=\"tick\" x=\"{:.0f}\" y=\"{:.0f}\">{}</text>",
          i % kColours, x, y, x + 9, y + 4, escaped(series_[i].name));
    }
  }

  const PlotOptions& options_;
  const std::vector<PlotSeries>& series_;
  Axis x_, y_;
};

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string xy_plot(const PlotOptions& options, const std::vector<PlotSeries>& series) {
  const bool is_empty = std::all_of(series.begin(), series.end(),
                                    [](const PlotSeries& s) { return s.points.empty(); });
  return is_empty ? "" : XyPlot(options, series).draw();
}

std::string heat_map(const HeatMap& map) {
  const double width = kWidth - kLeft - kRight;
  const double cell_width = width / static_cast<double>(std::max<size_t>(1, map.columns.size()));
  const double cell_height = std::clamp(220.0 / static_cast<double>(map.rows.size()), 18.0, 40.0);
  const double bottom = kTop + cell_height * static_cast<double>(map.rows.size());
  std::string out = opening(kWidth, bottom + kBottom, map.title);
  for (size_t r = 0; r < map.rows.size(); ++r) {
    const double y = kTop + cell_height * static_cast<double>(r);
    out += fmt::format("<text class=\"tick end\" x=\"{:.0f}\" y=\"{:.1f}\">{}</text>", kLeft - 6,
                       y + cell_height / 2 + 4, escaped(map.rows[r]));
    for (size_t c = 0; c < map.columns.size(); ++c) {
      const std::optional<double>& value = map.values[r * map.columns.size() + c];
      // One hue, from faint to full: right for every eye, and on dark paper.
      out += fmt::format(
          "<rect class=\"cell{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
          "fill-opacity=\"{:.2f}\"><title>{} × {}: {}</title></rect>",
          value ? "" : " unknown", kLeft + cell_width * static_cast<double>(c), y, cell_width - 1,
          cell_height - 1, 0.06 + 0.94 * std::clamp(value.value_or(0), 0.0, 1.0),
          escaped(map.columns[c]), escaped(map.rows[r]),
          value ? fmt::format("{:.0f}%", *value * 100) : "not measured");
    }
  }
  for (size_t c = 0; c < map.columns.size(); ++c) {
    out += fmt::format("<text class=\"tick middle\" x=\"{:.1f}\" y=\"{:.0f}\">{}</text>",
                       kLeft + cell_width * (static_cast<double>(c) + 0.5), bottom + 16,
                       escaped(map.columns[c]));
  }
  return out + fmt::format(
                   "<text class=\"label middle\" x=\"{:.0f}\" y=\"{:.0f}\">{}</text>"
                   "<text class=\"label middle\" transform=\"translate(12 {:.0f}) "
                   "rotate(-90)\">{}</text></svg>",
                   kLeft + width / 2, bottom + 34, escaped(map.x_label), (kTop + bottom) / 2,
                   escaped(map.y_label));
}

}  // namespace offbook::evaluate
