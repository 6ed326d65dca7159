#include "src/ops/cross_entropy/cross_entropy.h"

#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

void check_vector(const char* op, const char* name, const Tensor& t, Dtype dtype, int64_t size) {
  OB_REQUIRE(t.defined() && t.dtype() == dtype && t.is_contiguous() && t.shape() == Shape{size},
             InvalidArgument, "{}: {} is {} [{}], not {}", op, name, dtype_info(dtype).name, size,
             to_string(t));
}

bool is_row_matrix(const Tensor& t) {
  return t.defined() && t.rank() == 2 && is_activation(t) && (t.dim(1) <= 1 || t.stride(1) == 1);
}

void check_forward(const char* op, const LinearCrossEntropyArgs& a) {
  OB_REQUIRE(is_row_matrix(a.hidden), InvalidArgument, "{}: hidden is f32 or bf16 [n, dim], not {}",
             op, to_string(a.hidden));
  OB_REQUIRE(is_weight_matrix(a.head) && a.head.dim(0) > 0 && a.head.dim(1) > 0 &&
                 a.head.dim(1) == a.hidden.dim(1),
             InvalidArgument, "{}: head is a float or quantised [vocab, {}], not {}", op,
             a.hidden.dim(1), to_string(a.head));
  check_vector(op, "targets", a.targets, Dtype::i32, a.hidden.dim(0));
  OB_REQUIRE(!a.gradient.defined() ||
                 (is_row_matrix(a.gradient) && a.gradient.shape() == a.hidden.shape()),
             InvalidArgument, "{}: gradient is f32 or bf16 {}, not {}", op,
             to_string(a.hidden.shape()), to_string(a.gradient));
}

}  // namespace

void linear_cross_entropy(const ExecutionContext& ctx, const LinearCrossEntropyArgs& a) {
  check_forward("linear_cross_entropy", a);
  check_vector("linear_cross_entropy", "losses", a.losses, Dtype::f32, a.hidden.dim(0));
  if (a.lse.defined()) {
    check_vector("linear_cross_entropy", "lse", a.lse, Dtype::f32, a.hidden.dim(0));
  }
  OB_REQUIRE(!a.gradient.defined() || ctx.device() == Device::cpu, Unsupported,
             "linear_cross_entropy: losses and gradients in one walk are made on the CPU only");
  pick(&OpTable::linear_cross_entropy, ctx, "linear_cross_entropy")(ctx, a);
}

void linear_cross_entropy_backward(const ExecutionContext& ctx,
                                   const LinearCrossEntropyBackwardArgs& a) {
  constexpr const char* kName = "linear_cross_entropy_backward";
  const LinearCrossEntropyArgs& f = a.forward;
  check_forward(kName, f);
  check_vector(kName, "lse", f.lse, Dtype::f32, f.hidden.dim(0));
  check_vector(kName, "d_losses", a.d_losses, Dtype::f32, f.hidden.dim(0));
  OB_REQUIRE(is_row_matrix(a.d_hidden) && a.d_hidden.shape() == f.hidden.shape(), InvalidArgument,
             "{}: d_hidden is f32 or bf16 {}, not {}", kName, to_string(f.hidden.shape()),
             to_string(a.d_hidden));
  OB_REQUIRE(!a.d_head.defined() || (a.d_head.dtype() == Dtype::f32 && is_row_matrix(a.d_head) &&
                                     a.d_head.shape() == f.head.shape()),
             InvalidArgument, "{}: d_head is f32 {}, not {}", kName, to_string(f.head.shape()),
             to_string(a.d_head));
  pick(&OpTable::linear_cross_entropy_backward, ctx, kName)(ctx, a);
}

}  // namespace offbook::ops
