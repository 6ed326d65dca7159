#include <cmath>
#include <cstring>
#include <vector>

#include "src/base/float16.h"
#include "src/ops/packed_linear/packed_linear.h"

namespace offbook::ops::ref {
namespace {

double half_at(const std::byte* p) {
  F16 half;
  std::memcpy(&half, p, 2);
  return to_float(half);
}

// Value (row, col) of a panel; docs/formats/packed.md.
double value_at(const PanelForm& form, const std::byte* panel, int64_t row, int64_t col) {
  if (form.is_plain) {
    Bf16 value;
    std::memcpy(&value, panel + (col / 2 * kPanelRows + row) * 4 + col % 2 * 2, 2);
    return to_float(value);
  }
  const std::byte* group = panel + col / kPanelGroup * form.group_bytes();
  const int64_t step = col % kPanelGroup / 4;
  const int64_t within = row * 4 + col % 4;
  int q;
  if (form.is_4bit) {
    const int both = std::to_integer<int>(group[step % 4 * 64 + within]);
    q = step < 4 ? both & 15 : both >> 4;
  } else {
    q = std::to_integer<int>(group[step * 64 + within]);
  }
  const std::byte* scales = group + form.quant_bytes();
  const int64_t half = form.has_halves ? step / 4 : 0;
  const double scale = half_at(scales + (half * kPanelRows + row) * 2);
  const double minimum = form.has_minimum ? half_at(scales + form.scale_bytes() + row * 2) : 0;
  return scale * (q - form.offset) + minimum;
}

// Row `row` of the stacked matrix.
std::vector<double> row_of(const PackedMatrix& w, int64_t row) {
  size_t part = 0;
  while (row >= w.parts[part].panels.dim(0) * kPanelRows) {
    row -= w.parts[part].panels.dim(0) * kPanelRows;
    ++part;
  }
  const PackedPart& p = w.parts[part];
  std::vector<double> out(static_cast<size_t>(w.cols));
  for (int64_t c = 0; c < w.cols; ++c) {
    out[static_cast<size_t>(c)] =
        value_at(p.form, p.panels.row_raw(row / kPanelRows), row % kPanelRows, c);
  }
  return out;
}

std::vector<double> input_row(const PackedLinearArgs& a, int64_t n) {
  const auto* x = reinterpret_cast<const float*>(a.x.row_raw(n));
  std::vector<double> out(x, x + a.x.dim(1));
  if (a.norm.defined()) {
    double squares = 0;
    for (const double v : out) {
      squares += v * v;
    }
    const double r = 1 / std::sqrt(squares / static_cast<double>(out.size()) + a.eps);
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] *= r * a.norm.data<float>()[i];
    }
  }
  return out;
}

}  // namespace

void packed_linear(const ExecutionContext&, const PackedLinearArgs& a) {
  const PackedMatrix& w = *a.matrix;
  std::vector<std::vector<double>> rows;
  for (int64_t r = 0; r < w.rows; ++r) {
    rows.push_back(row_of(w, r));
  }
  for (int64_t n = 0; n < a.x.dim(0); ++n) {
    const std::vector<double> x = input_row(a, n);
    const auto dot = [&](int64_t r) {
      double sum = a.bias.defined() ? a.bias.data<float>()[r] : 0;
      for (size_t i = 0; i < x.size(); ++i) {
        sum += x[i] * rows[static_cast<size_t>(r)][i];
      }
      return sum;
    };
    auto* out = reinterpret_cast<float*>(a.out.row_raw(n));
    for (int64_t o = 0; o < a.out.dim(1); ++o) {
      double v;
      if (a.end == PackedEnd::swiglu) {
        const int64_t gate = o / kPanelRows * 2 * kPanelRows + o % kPanelRows;
        const double g = dot(gate);
        v = g / (1 + std::exp(-g)) * dot(gate + kPanelRows);
      } else {
        v = dot(o);
      }
      if (a.end == PackedEnd::gelu) {
        v *= 0.5 * std::erfc(-v * std::sqrt(0.5));
      }
      out[o] = static_cast<float>(a.write == Write::accumulate ? out[o] + v : v);
    }
  }
}

}  // namespace offbook::ops::ref
