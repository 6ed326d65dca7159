// The parts of lora, one by one.
#pragma once
#include <algorithm>

#include "src/ops/lora/lora.h"

namespace offbook::ops {

inline int64_t largest_rank(const LoraPart& part) {
  int64_t rank = 0;
  for (const LoraFactors& f : part.adapters) {
    rank = f.a.defined() ? std::max(rank, f.a.dim(0)) : rank;
  }
  return rank;
}

// One part, with what all share.
struct OneLora {
  Tensor x;
  std::span<const LoraFactors> adapters;
  Tensor adapter_of_row;
  Tensor scratch;  // [n, largest rank]
  Tensor out;
};

template <typename Fn>
void each_part(const LoraArgs& a, const Fn& fn) {
  int64_t column = 0;
  for (const LoraPart& part : a.parts) {
    const int64_t rank = largest_rank(part);
    fn(OneLora{a.x, part.adapters, a.adapter_of_row, a.scratch.slice(1, column, column + rank),
               part.out});
    column += rank;
  }
}

// The factors of a row, or null when it has none. Throws InvalidArgument for an index outside the
// list.
inline const LoraFactors* adapter_of(const OneLora& a, int64_t row) {
  const int32_t index = a.adapter_of_row.data<int32_t>()[row];
  OB_OP_REQUIRE("lora", index >= -1 && index < static_cast<int64_t>(a.adapters.size()),
                "row {} asks for adapter {} of {}", row, index, a.adapters.size());
  if (index < 0 || !a.adapters[static_cast<size_t>(index)].a.defined()) {
    return nullptr;
  }
  return &a.adapters[static_cast<size_t>(index)];
}

}  // namespace offbook::ops
