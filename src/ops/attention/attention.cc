#include "src/ops/attention/attention.h"

#include "src/ops/attention/checks.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

void check_range(const char* op, int64_t sequence, int64_t begin, int64_t length, int64_t rows) {
  OB_REQUIRE(begin >= 0 && length >= 0 && begin + length <= rows, InvalidArgument,
             "{}: sequence {} has keys {}+{} of {}", op, sequence, begin, length, rows);
}

void check_sequences(const char* op, const AttentionArgs& a) {
  const auto* rows = reinterpret_cast<const AttentionSequence*>(a.sequences.raw());
  QueryRanges queries(op, a.q.dim(0), a.max_length);
  for (int64_t i = 0; i < a.sequences.dim(0); ++i) {
    const AttentionSequence& s = rows[i];
    queries.add(i, s.query_begin, s.length);
    if (s.length == 0) {
      continue;
    }
    check_range(op, i, s.own_begin, s.length, a.k.dim(0));
    if (s.prefix_len != 0) {
      check_range(op, i, s.prefix_begin, s.prefix_len, a.k.dim(0));
    }
    OB_REQUIRE(s.prefix_len <= a.max_prefix, InvalidArgument,
               "{}: sequence {} has a prefix of {}, max_prefix is {}", op, i, s.prefix_len,
               a.max_prefix);
  }
}

void check_args(const char* op, const ExecutionContext& ctx, const AttentionArgs& a) {
  check_attention_heads(op, a.q, a.k, a.v);
  check_like(op, "out", a.out, a.q);
  OB_REQUIRE(a.sequences.rank() == 2 && a.sequences.dtype() == Dtype::i32 &&
                 a.sequences.dim(1) == kAttentionSequenceFields && a.sequences.is_contiguous(),
             InvalidArgument, "{}: sequences is i32 [sequences, {}], not {}", op,
             kAttentionSequenceFields, to_string(a.sequences));
  OB_REQUIRE(a.scale > 0, InvalidArgument, "{}: scale is positive, not {}", op, a.scale);
  OB_REQUIRE(a.window >= 0, InvalidArgument, "{}: window is 0 or more, not {}", op, a.window);
  const Shape lse{a.q.dim(0), a.q.dim(1)};
  OB_REQUIRE(!a.lse.defined() ||
                 (a.lse.shape() == lse && a.lse.dtype() == Dtype::f32 && a.lse.is_contiguous()),
             InvalidArgument, "{}: lse is f32 {}, not {}", op, to_string(lse), to_string(a.lse));
  if (ctx.device() == Device::cpu) {
    check_sequences(op, a);
  }
}

}  // namespace

void attention(const ExecutionContext& ctx, const AttentionArgs& a) {
  check_args("attention", ctx, a);
  pick(&OpTable::attention, ctx, "attention")(ctx, a);
}

void attention_backward(const ExecutionContext& ctx, const AttentionBackwardArgs& a) {
  const char* const op = "attention_backward";
  check_args(op, ctx, a.forward);
  OB_REQUIRE(a.forward.lse.defined(), InvalidArgument, "{}: lse of the forward pass is missing",
             op);
  check_like(op, "d_out", a.d_out, a.forward.q);
  check_like(op, "d_q", a.d_q, a.forward.q);
  check_like(op, "d_k", a.d_k, a.forward.k);
  check_like(op, "d_v", a.d_v, a.forward.v);
  pick(&OpTable::attention_backward, ctx, op)(ctx, a);
}

}  // namespace offbook::ops
