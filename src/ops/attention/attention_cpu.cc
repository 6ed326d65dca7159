#include <algorithm>
#include <cmath>

#include "src/backend/cpu/features.h"
#include "src/ops/attention/problem.h"
#include "src/ops/registry.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/attention/forward.h"

namespace offbook::ops::OB_ISA {

void solve(const ExecutionContext& ctx, const AttentionProblem& p) {
  p.k.dtype() == Dtype::f32 ? forward<float>(ctx, p) : forward<Bf16>(ctx, p);
}

void attention(const ExecutionContext& ctx, const AttentionArgs& a) {
  solve(ctx, problem_of(a));
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
