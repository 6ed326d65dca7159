// Integer arithmetic on sizes that come from outside: overflow is Corrupt, never a small allocation.
#pragma once
#include <cstdint>

#include "src/base/error.h"

namespace offbook {

// a * b; throws Corrupt naming `what` on overflow.
inline uint64_t checked_mul(uint64_t a, uint64_t b, std::string_view what) {
  uint64_t out;
  OB_REQUIRE(!__builtin_mul_overflow(a, b, &out), Corrupt, "{}: {} × {} does not fit 64 bits", what, a, b);
  return out;
}

// a + b; throws Corrupt naming `what` on overflow.
inline uint64_t checked_add(uint64_t a, uint64_t b, std::string_view what) {
  uint64_t out;
  OB_REQUIRE(!__builtin_add_overflow(a, b, &out), Corrupt, "{}: {} + {} does not fit 64 bits", what, a, b);
  return out;
}

}  // namespace offbook
