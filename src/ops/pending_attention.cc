#include "src/ops/pending.h"
namespace offbook::ops::avx2 { void attention_backward(const ExecutionContext& ctx, const AttentionBackwardArgs& a) { ref::attention_backward(ctx, a); } }
namespace offbook::ops::avx512 { void attention_backward(const ExecutionContext& ctx, const AttentionBackwardArgs& a) { ref::attention_backward(ctx, a); } }
