#include <algorithm>
#include <cmath>
#include <limits>

#include "src/ops/attention/problem.h"
#include "src/ops/registry.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/attention/backward.h"
#include "src/ops/attention/forward.h"

namespace offbook::ops::OB_ISA {

void attention(const ExecutionContext& ctx, const AttentionArgs& a) {
  forward(ctx, problem_of(a));
}

void attention_backward(const ExecutionContext& ctx, const AttentionBackwardArgs& a) {
  backward(ctx, problem_of(a.forward), a);
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
