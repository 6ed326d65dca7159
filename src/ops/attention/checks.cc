#include "src/ops/attention/checks.h"

#include "src/ops/elementwise/elementwise.h"

namespace offbook::ops {

void check_attention_heads(const char* op, const Tensor& q, const Tensor& k, const Tensor& v) {
  OB_REQUIRE(q.rank() == 3 && is_activation(q) && q.stride(2) == 1, InvalidArgument,
             "{}: q is f32 or bf16 [n, heads, dim], not {}", op, to_string(q));
  const int64_t dim = q.dim(2);
  OB_REQUIRE(dim % 8 == 0 && dim >= 8 && dim <= 256, InvalidArgument,
             "{}: the head size is a multiple of 8 up to 256, not {}", op, dim);
  OB_REQUIRE(k.rank() == 3 && is_activation(k) && k.dim(2) == dim && k.stride(2) == 1,
             InvalidArgument, "{}: k is f32 or bf16 [s, kv_heads, {}], not {}", op, dim,
             to_string(k));
  OB_REQUIRE(k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0, InvalidArgument,
             "{}: {} query heads are no multiple of {} key heads", op, q.dim(1), k.dim(1));
  OB_REQUIRE(v.shape() == k.shape() && v.dtype() == k.dtype() && v.stride(2) == 1, InvalidArgument,
             "{}: v has the shape and type of k, {}, not {}", op, to_string(k), to_string(v));
}

void check_like(const char* op, const char* name, const Tensor& t, const Tensor& like) {
  OB_REQUIRE(t.shape() == like.shape() && is_activation(t) && t.stride(2) == 1, InvalidArgument,
             "{}: {} is {}, f32 or bf16, not {}", op, name, to_string(like.shape()), to_string(t));
}

void QueryRanges::add(int64_t sequence, int64_t begin, int64_t length) {
  OB_REQUIRE(length >= 0 && length <= max_length_, InvalidArgument,
             "{}: sequence {} has length {}, max_length is {}", op_, sequence, length, max_length_);
  OB_REQUIRE(length == 0 || (begin >= end_ && begin + length <= rows_), InvalidArgument,
             "{}: sequence {} has queries {}+{}, want them in {}..{}, after the previous ones", op_,
             sequence, begin, length, end_, rows_);
  end_ = length == 0 ? end_ : begin + length;
}

void clear_overwritten(const ExecutionContext& ctx, const AttentionBackwardArgs& a) {
  const auto clear = [&](const Tensor& t, Write write) {
    if (write == Write::overwrite) {
      fill(ctx, {.value = 0, .out = t});
    }
  };
  clear(a.d_q, a.write_q);
  clear(a.d_k, a.write_k);
  clear(a.d_v, a.write_v);
}

}  // namespace offbook::ops
