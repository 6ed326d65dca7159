#include "src/ops/ref_rows.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {

void add(const ExecutionContext&, const AddArgs& a) {
  for (int64_t r = 0; r < row_count(a.a); ++r) {
    for (int64_t i = 0; i < a.a.dim(-1); ++i) {
      set(row_of(a.out, r), get(row_of(a.a, r), i) + get(row_of(a.b, r), i), i);
    }
  }
}

void copy(const ExecutionContext&, const CopyArgs& a) {
  for (int64_t r = 0; r < row_count(a.x); ++r) {
    const Tensor x = row_of(a.x, r);
    const Tensor out = row_of(a.out, r);
    for (int64_t i = 0; i < a.x.dim(-1); ++i) {
      if (x.dtype() == Dtype::i32) {
        out.data<int32_t>()[i] = get_i32(x, i);
      } else {
        set(out, a.alpha * get(x, i) + (a.write == Write::accumulate ? get(out, i) : 0), i);
      }
    }
  }
}

void fill(const ExecutionContext&, const FillArgs& a) {
  for (int64_t r = 0; r < row_count(a.out); ++r) {
    const Tensor row = row_of(a.out, r);
    for (int64_t i = 0; i < row.dim(0); ++i) {
      if (row.dtype() == Dtype::i32) {
        row.data<int32_t>()[i] = static_cast<int32_t>(a.value);
      } else {
        set(row, a.value, i);
      }
    }
  }
}

void affine_rows(const ExecutionContext&, const AffineRowsArgs& a) {
  for (int64_t n = 0; n < a.x.dim(0); ++n) {
    for (int64_t i = 0; i < a.x.dim(1); ++i) {
      set(a.out, get(a.row, i) + get(a.scale, 0) * get(a.x, n, i), n, i);
    }
  }
}

void affine_rows_backward(const ExecutionContext&, const AffineRowsBackwardArgs& a) {
  double d_scale = 0;
  for (int64_t i = 0; i < a.x.dim(1); ++i) {
    double d_row = 0;
    for (int64_t n = 0; n < a.x.dim(0); ++n) {
      d_row += get(a.d_out, n, i);
      d_scale += get(a.d_out, n, i) * get(a.x, n, i);
      if (a.d_x.defined()) {
        set(a.d_x, get(a.d_x, n, i) + get(a.scale, 0) * get(a.d_out, n, i), n, i);
      }
    }
    set(a.d_row, get(a.d_row, i) + d_row, i);
  }
  set(a.d_scale, get(a.d_scale, 0) + d_scale, 0);
}

}  // namespace offbook::ops::ref
