#include <cmath>
#include <vector>

#include "src/ops/ref_rows.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {
namespace {

Tensor flat_row(const Tensor& t, int64_t r) {
  return t.slice(0, r, r + 1).reshape({t.numel() / t.dim(0)});
}

void move_row(const Tensor& from, const Tensor& to, Write write) {
  for (int64_t i = 0; i < from.dim(0); ++i) {
    set(to, get(from, i) + (write == Write::accumulate ? get(to, i) : 0), i);
  }
}

}  // namespace

void gather_rows(const ExecutionContext&, const GatherRowsArgs& a) {
  for (int64_t n = 0; n < a.index.dim(0); ++n) {
    move_row(flat_row(a.x, get_i32(a.index, n)), flat_row(a.out, n), a.write);
  }
}

void scatter_rows(const ExecutionContext&, const ScatterRowsArgs& a) {
  for (int64_t n = 0; n < a.index.dim(0); ++n) {
    move_row(flat_row(a.x, n), flat_row(a.out, get_i32(a.index, n)), a.write);
  }
}

void segment_mean(const ExecutionContext&, const SegmentMeanArgs& a) {
  for (int64_t s = 0; s < a.out.dim(0); ++s) {
    const int32_t begin = get_i32(a.offsets, s);
    const int32_t end = get_i32(a.offsets, s + 1);
    std::vector<double> mean(static_cast<size_t>(a.x.dim(1)), 0.0);
    double squares = 0;
    for (int64_t i = 0; i < a.x.dim(1); ++i) {
      double& m = mean[static_cast<size_t>(i)];
      for (int64_t r = begin; r < end; ++r) {
        m += get(a.x, r, i) / (end - begin);
      }
      squares += m * m;
    }
    const double divide = a.l2_normalise && squares > 0 ? std::sqrt(squares) : 1;
    for (int64_t i = 0; i < a.x.dim(1); ++i) {
      set(a.out, mean[static_cast<size_t>(i)] / divide, s, i);
    }
  }
}

void segment_mean_backward(const ExecutionContext&, const SegmentMeanBackwardArgs& a) {
  for (int64_t s = 0; s < a.d_out.dim(0); ++s) {
    const int32_t begin = get_i32(a.offsets, s);
    const int32_t end = get_i32(a.offsets, s + 1);
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t i = 0; i < a.d_x.dim(1); ++i) {
        set(a.d_x, get(a.d_x, r, i) + get(a.d_out, s, i) / (end - begin), r, i);
      }
    }
  }
}

}  // namespace offbook::ops::ref
