#include <algorithm>
#include <cmath>

#include "src/backend/cpu/isa_begin.h"
#include "src/ops/attention/problem.h"
#include "src/ops/registry.h"
//
#include "src/ops/attention/forward.h"

namespace offbook::ops::OB_ISA {

void attention(const ExecutionContext& ctx, const AttentionArgs& a) {
  forward(ctx, problem_of(a));
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
