// Rows of a tensor of rank 1…3 for reference implementations: row r as a vector.
#pragma once
#include "src/ops/ref.h"

namespace offbook::ops::ref {

inline int64_t row_count(const Tensor& t) { return t.numel() == 0 ? 0 : t.numel() / t.dim(-1); }

inline Tensor row_of(const Tensor& t, int64_t r) {
  Tensor out = t;
  if (t.rank() == 3) {
    out = t.slice(0, r / t.dim(1), r / t.dim(1) + 1).slice(1, r % t.dim(1), r % t.dim(1) + 1);
  } else if (t.rank() == 2) {
    out = t.slice(0, r, r + 1);
  }
  return out.reshape({t.dim(-1)});
}

}  // namespace offbook::ops::ref
