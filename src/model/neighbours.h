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

}  // namespace offbook::model
