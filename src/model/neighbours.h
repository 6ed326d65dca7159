// Tensors that lie one behind the other in memory and can stand as one.
#pragma once
#include <span>

#include "src/tensor/tensor.h"

namespace offbook::model {

// Whether each tensor begins where the one before it ends, in one storage.
inline bool lie_together(std::span<const Tensor* const> parts) {
  for (size_t i = 1; i < parts.size(); ++i) {
    const Tensor& before = *parts[i - 1];
    if (before.storage() != parts[i]->storage() ||
        before.raw() + before.bytes() != parts[i]->raw()) {
      return false;
    }
  }
  return true;
}

// A tensor of another shape that begins where `first` does.
inline Tensor spanning(const Tensor& first, const Shape& shape) {
  return Tensor(first.storage(), first.dtype(), shape,
                static_cast<size_t>(first.raw() - first.storage()->data()));
}

// q and k [n, heads, dim] as one tensor [n, all heads, dim], where each row of k follows that of q
// as in a product of joined matrices; undefined where they do not.
inline Tensor heads_together(const Tensor& q, const Tensor& k) {
  const int64_t n = q.dim(0);
  const int64_t dim = q.dim(2);
  const int64_t width = q.stride(0);
  const int64_t both = (q.dim(1) + k.dim(1)) * dim;
  const int64_t begin = q.raw() - q.storage()->data();
  if (n == 0 || q.storage() != k.storage() || q.dtype() != k.dtype() || k.stride(0) != width ||
      k.dim(2) != dim || q.stride(1) != dim || k.stride(1) != dim || both > width ||
      k.raw() - q.raw() != dtype_bytes(q.dtype(), q.dim(1) * dim) ||
      begin + dtype_bytes(q.dtype(), n * width) > static_cast<int64_t>(q.storage()->bytes())) {
    return {};
  }
  return spanning(q, {n, width}).slice(1, 0, both).split_axis(1, dim);
}

}  // namespace offbook::model
