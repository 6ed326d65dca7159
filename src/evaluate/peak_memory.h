// The largest resident memory of this process.
#pragma once
#include <cstdint>

namespace offbook::evaluate {

// Begins to measure anew, where the system lets a process do that (Linux: /proc/self/clear_refs).
void reset_peak_memory() noexcept;
// Since then, in bytes; 0 where it cannot be known.
int64_t peak_memory_bytes() noexcept;

}  // namespace offbook::evaluate
