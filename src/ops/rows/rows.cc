#include "src/ops/rows/rows.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

// Rows of …rest that are contiguous within.
bool has_plain_rows(const Tensor& t) {
  if (t.rank() < 2 || t.rank() > 3 || !is_activation(t)) {
    return false;
  }
  return t.numel() == 0 || t.slice(0, 0, 1).is_contiguous();
}

void check_index(const ExecutionContext& ctx, const char* op, const Tensor& index, int64_t limit) {
  OB_REQUIRE(index.rank() == 1 && index.dtype() == Dtype::i32 && index.is_contiguous(), InvalidArgument,
             "{}: index is i32 [n], not {}", op, to_string(index));
  if (ctx.device() != Device::cpu) {
    return;
  }
  for (int64_t i = 0; i < index.dim(0); ++i) {
    const int32_t at = index.data<int32_t>()[i];
    OB_REQUIRE(at >= 0 && at < limit, InvalidArgument, "{}: index {} at place {} is outside {} rows", op, at, i, limit);
  }
}

void check_rest(const char* op, const Tensor& x, const Tensor& out) {
  bool same = x.rank() == out.rank() && has_plain_rows(x) && has_plain_rows(out);
  for (int axis = 1; same && axis < x.rank(); ++axis) {
    same = x.dim(axis) == out.dim(axis);
  }
  OB_REQUIRE(same, InvalidArgument, "{}: rows of {} and {} differ", op, to_string(x), to_string(out));
}

void check_offsets(const ExecutionContext& ctx, const char* op, const Tensor& offsets, int64_t rows) {
  OB_REQUIRE(offsets.rank() == 1 && offsets.dtype() == Dtype::i32 && offsets.dim(0) >= 1, InvalidArgument,
             "{}: offsets are i32 [segments + 1], not {}", op, to_string(offsets));
  if (ctx.device() != Device::cpu) {
    return;
  }
  int32_t before = 0;
  for (int64_t i = 0; i < offsets.dim(0); ++i) {
    const int32_t at = offsets.data<int32_t>()[i];
    OB_REQUIRE(at >= before && at <= rows, InvalidArgument, "{}: offset {} at place {} is not in {}…{}", op, at, i,
               before, rows);
    before = at;
  }
}

}  // namespace

void gather_rows(const ExecutionContext& ctx, const GatherRowsArgs& a) {
  check_rest("gather_rows", a.x, a.out);
  OB_OP_REQUIRE("gather_rows", a.out.dim(0) == a.index.numel(), "{} indices for out {}", a.index.numel(), to_string(a.out));
  check_index(ctx, "gather_rows", a.index, a.x.dim(0));
  pick(&OpTable::gather_rows, ctx, "gather_rows")(ctx, a);
}

void scatter_rows(const ExecutionContext& ctx, const ScatterRowsArgs& a) {
  check_rest("scatter_rows", a.x, a.out);
  OB_OP_REQUIRE("scatter_rows", a.x.dim(0) == a.index.numel(), "{} indices for x {}", a.index.numel(), to_string(a.x));
  check_index(ctx, "scatter_rows", a.index, a.out.dim(0));
  pick(&OpTable::scatter_rows, ctx, "scatter_rows")(ctx, a);
}

void segment_mean(const ExecutionContext& ctx, const SegmentMeanArgs& a) {
  OB_OP_REQUIRE("segment_mean", a.x.rank() == 2 && has_plain_rows(a.x) && a.out.rank() == 2 && has_plain_rows(a.out) &&
                                    a.out.dim(1) == a.x.dim(1) && a.out.dim(0) + 1 == a.offsets.numel(),
                "x {}, offsets {} and out {} do not fit", to_string(a.x), to_string(a.offsets), to_string(a.out));
  check_offsets(ctx, "segment_mean", a.offsets, a.x.dim(0));
  pick(&OpTable::segment_mean, ctx, "segment_mean")(ctx, a);
}

void segment_mean_backward(const ExecutionContext& ctx, const SegmentMeanBackwardArgs& a) {
  OB_OP_REQUIRE("segment_mean_backward", a.d_x.rank() == 2 && has_plain_rows(a.d_x) && has_plain_rows(a.d_out) &&
                                             a.d_out.dim(1) == a.d_x.dim(1) && a.d_out.dim(0) + 1 == a.offsets.numel(),
                "d_x {}, offsets {} and d_out {} do not fit", to_string(a.d_x), to_string(a.offsets), to_string(a.d_out));
  check_offsets(ctx, "segment_mean_backward", a.offsets, a.d_x.dim(0));
  pick(&OpTable::segment_mean_backward, ctx, "segment_mean_backward")(ctx, a);
}

}  // namespace offbook::ops
