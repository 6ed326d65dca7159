// Counts the heap allocations of a test program.
#pragma once
#include <cstdint>

namespace offbook::model {

int64_t heap_allocations();

}  // namespace offbook::model
