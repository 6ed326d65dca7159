#include "src/autograd/functional.h"
#include "src/ops/registry.h"

namespace offbook::autograd {

Tensor linear_cross_entropy(const Graph& g, const Tensor& hidden, const Tensor& head,
                            const Tensor& targets) {
  const Tensor losses = g.make(Dtype::f32, {hidden.dim(0)});
  ops::LinearCrossEntropyArgs args{
      .hidden = hidden, .head = head, .targets = targets, .losses = losses};
  const bool recorded = g.needs_grad(hidden) || g.needs_grad(head);
  if (recorded) {
    args.lse = g.make(Dtype::f32, {hidden.dim(0)});
    if (g.ctx.device() == Device::cpu &&
        !g.needs_grad(head)) {  // two products with the head, not three
      args.gradient = g.make(hidden.dtype(), hidden.shape());
    }
  }
  ops::linear_cross_entropy(g.ctx, args);
  if (recorded) {
    g.tape->record({losses}, [=](Tape& tape) {
      const bool to_hidden = tape.needs_grad(hidden);
      backend::ArenaScope scope(*tape.ctx().arena);
      const Tape::Target d_hidden =
          to_hidden
              ? tape.target(hidden)
              : Tape::Target{tape.ctx().make(hidden.dtype(), hidden.shape()), Write::overwrite};
      ops::linear_cross_entropy_backward(
          tape.ctx(), {.forward = args,
                       .d_losses = tape.grad(losses),
                       .d_hidden = d_hidden.tensor,
                       .write = d_hidden.write,
                       .d_head = tape.needs_grad(head) ? tape.accumulator(head) : Tensor()});
    });
  }
  return losses;
}

}  // namespace offbook::autograd
