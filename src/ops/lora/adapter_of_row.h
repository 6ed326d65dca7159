// Shared by the CPU implementations of lora.
#pragma once
#include "src/ops/lora/lora.h"

namespace offbook::ops {

// The factors of a row, or null when it has none. Throws InvalidArgument for an index outside the
// list.
inline const LoraFactors* adapter_of(const LoraArgs& a, int64_t row) {
  const int32_t index = a.adapter_of_row.data<int32_t>()[row];
  OB_OP_REQUIRE("lora", index >= -1 && index < static_cast<int64_t>(a.adapters.size()),
                "row {} asks for adapter {} of {}", row, index, a.adapters.size());
  if (index < 0 || !a.adapters[static_cast<size_t>(index)].a.defined()) {
    return nullptr;
  }
  return &a.adapters[static_cast<size_t>(index)];
}

}  // namespace offbook::ops
