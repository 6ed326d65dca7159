#include "src/autograd/layer_maps.h"

#include "src/ops/registry.h"

namespace offbook::autograd {
namespace {

// d_residual += d_out, which nobody reads after this.
void pass_on(Tape& tape, const Tensor& out, const Tensor& residual) {
  if (residual.defined() && tape.needs_grad(residual) && !tape.hand_over(out, residual)) {
    const Tape::Target to = tape.target(residual);
    ops::copy(tape.ctx(), {.x = tape.grad(out), .write = to.write, .out = to.tensor});
  }
}

// Calls fn(writer, first row, first column) for each part.
template <typename Fn>
void each_part(const AdaptedMatrix& m, const Fn& fn) {
  int64_t row = 0;
  int64_t column = 0;
  for (const Tensor& writer : m.writers) {
    fn(writer, row, column);
    row += writer.dim(0);
    column += writer.dim(1);
  }
}

// [weight | writers], each writer in rows and columns of its own, zeros elsewhere.
Tensor with_columns(const Graph& g, const AdaptedMatrix& m, Dtype dtype) {
  const int64_t in = m.weight.dim(1);
  const Tensor out = g.ctx.make(dtype, {m.weight.dim(0), in + columns_beside(m)});
  ops::copy(g.ctx, {.x = m.weight, .out = out.slice(1, 0, in)});
  if (m.writers.size() > 1) {
    ops::fill(g.ctx, {.value = 0, .out = out.slice(1, in, out.dim(1))});
  }
  each_part(m, [&](const Tensor& writer, int64_t row, int64_t column) {
    ops::copy(g.ctx, {.x = writer,
                      .out = out.slice(0, row, row + writer.dim(0))
                                 .slice(1, in + column, in + column + writer.dim(1))});
  });
  return out;
}

Tensor copied(const Graph& g, const Tensor& t, Dtype dtype) {
  const Tensor out = g.ctx.make(dtype, t.shape());
  ops::copy(g.ctx, {.x = t, .out = out});
  return out;
}

}  // namespace

Tensor linear_onto(const Graph& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const Tensor& residual) {
  const Tensor out = g.make(x.dtype(), residual.shape());
  ops::linear(g.ctx, {.x = x, .weight = weight, .bias = bias, .addend = residual, .out = out});
  if (g.needs_grad(x) || g.needs_grad(residual) || g.needs_grad(weight)) {
    g.tape->record({out}, [=](Tape& tape) {
      const Tensor d_out = tape.grad(out);
      if (tape.needs_grad(x)) {
        const Tape::Target to = tape.target(x);
        ops::linear_backward_input(
            tape.ctx(), {.d_out = d_out, .weight = weight, .write = to.write, .d_x = to.tensor});
      }
      if (tape.needs_grad(weight)) {
        const bool to_bias = bias.defined() && tape.needs_grad(bias);
        ops::linear_backward_weight(tape.ctx(),
                                    {.x = x,
                                     .d_out = d_out,
                                     .d_weight = tape.accumulator(weight),
                                     .d_bias = to_bias ? tape.accumulator(bias) : Tensor()});
      }
      pass_on(tape, out, residual);
    });
  }
  return out;
}

Tensor normed_linear(const Graph& g, const Tensor& x, const Tensor& norm, float eps,
                     const Tensor& weight, const Tensor& bias) {
  const Tensor out = g.make(x.dtype(), {x.dim(0), weight.dim(0)});
  {
    backend::ArenaScope scope(*g.ctx.arena);
    const Tensor normed = g.ctx.make(x.dtype(), x.shape());
    ops::rms_norm(g.ctx, {.x = x, .weight = norm, .eps = eps, .out = normed});
    ops::linear(g.ctx, {.x = normed, .weight = weight, .bias = bias, .out = out});
  }
  if (g.needs_grad(x)) {
    g.tape->record({out}, [=](Tape& tape) {
      backend::ArenaScope scope(*tape.ctx().arena);
      const Tensor d_normed = tape.ctx().make(x.dtype(), x.shape());
      ops::linear_backward_input(tape.ctx(),
                                 {.d_out = tape.grad(out), .weight = weight, .d_x = d_normed});
      const Tape::Target to = tape.target(x);
      ops::rms_norm_backward(tape.ctx(), {.x = x,
                                          .weight = norm,
                                          .eps = eps,
                                          .d_out = d_normed,
                                          .d_x = to.tensor,
                                          .write = to.write});
    });
  }
  return out;
}

Tensor gated_onto(const Graph& g, const Tensor& gate, const Tensor& up, const Tensor& weight,
                  const Tensor& residual, Value value) {
  const Tensor out = g.make(residual.dtype(), residual.shape());
  if (value == Value::made) {
    backend::ArenaScope scope(*g.ctx.arena);
    const Tensor inner = g.ctx.make(gate.dtype(), gate.shape());
    ops::swiglu(g.ctx, {.gate = gate, .up = up, .out = inner});
    ops::linear(g.ctx, {.x = inner, .weight = weight, .addend = residual, .out = out});
  }
  if (g.needs_grad(gate) || g.needs_grad(residual) || g.needs_grad(weight)) {
    g.tape->record({out}, [=](Tape& tape) {
      backend::ArenaScope scope(*tape.ctx().arena);
      const bool to_weight = tape.needs_grad(weight);
      const Tensor inner = to_weight ? tape.ctx().make(gate.dtype(), gate.shape()) : Tensor();
      if (tape.needs_grad(gate)) {
        const Tensor d_inner = tape.ctx().make(gate.dtype(), gate.shape());
        ops::linear_backward_input(tape.ctx(),
                                   {.d_out = tape.grad(out), .weight = weight, .d_x = d_inner});
        const auto halves = tape.parts({gate, up});
        OB_CHECK(halves.has_value());
        ops::swiglu_backward(tape.ctx(), {.gate = gate,
                                          .up = up,
                                          .d_out = d_inner,
                                          .d_gate = halves->front(),
                                          .d_up = halves->back(),
                                          .out = inner});
      } else if (to_weight) {
        ops::swiglu(tape.ctx(), {.gate = gate, .up = up, .out = inner});
      }
      if (to_weight) {
        ops::linear_backward_weight(
            tape.ctx(),
            {.x = inner, .d_out = tape.grad(out), .d_weight = tape.accumulator(weight)});
      }
      pass_on(tape, out, residual);
    });
  }
  return out;
}

int64_t columns_beside(const AdaptedMatrix& m) {
  return m.readers.dim(0);
}

Tensor adapted_linear(const Graph& g, const Tensor& wide, const AdaptedMatrix& m) {
  const int64_t in = m.weight.dim(1);
  const Tensor x = wide.slice(1, 0, in);
  const Tensor low = wide.slice(1, in, wide.dim(1));
  const auto once = [&](const Tensor& of, const auto& make) {
    return g.tape == nullptr ? make() : g.tape->once(of.raw(), make);
  };
  const Tensor matrix = once(m.writers.front(), [&] { return with_columns(g, m, wide.dtype()); });
  const Tensor readers = once(m.readers, [&] { return copied(g, m.readers, wide.dtype()); });
  ops::linear(g.ctx, {.x = x, .weight = readers, .alpha = m.scale, .out = low});
  const Tensor out = g.make(wide.dtype(), {wide.dim(0), m.weight.dim(0)});
  ops::linear(g.ctx,
              {.x = wide, .weight = matrix, .bias = m.bias, .addend = m.residual, .out = out});
  if (!g.needs_grad(wide) && !g.needs_grad(m.readers) && !g.needs_grad(m.writers.front()) &&
      !g.needs_grad(m.residual)) {
    return out;
  }
  g.tape->record({out}, [=](Tape& tape) {
    const backend::ExecutionContext& ctx = tape.ctx();
    backend::ArenaScope scope(*ctx.arena);
    const Tensor d_out = tape.grad(out);
    Tensor d_low;
    if (tape.needs_grad(wide)) {
      const Tape::Target to = tape.target(wide);
      ops::linear_backward_input(
          ctx, {.d_out = d_out, .weight = matrix, .write = to.write, .d_x = to.tensor});
      d_low = to.tensor.slice(1, in, wide.dim(1));
      ops::linear_backward_input(ctx, {.d_out = d_low,
                                       .weight = readers,
                                       .alpha = m.scale,
                                       .write = Write::accumulate,
                                       .d_x = to.tensor.slice(1, 0, in)});
    } else {
      d_low = ctx.make(wide.dtype(), low.shape());
      ops::linear_backward_input(
          ctx, {.d_out = d_out, .weight = matrix.slice(1, in, wide.dim(1)), .d_x = d_low});
    }
    if (tape.needs_grad(m.readers)) {
      ops::linear_backward_weight(
          ctx, {.x = x, .d_out = d_low, .alpha = m.scale, .d_weight = tape.accumulator(m.readers)});
    }
    each_part(m, [&](const Tensor& writer, int64_t row, int64_t column) {
      if (tape.needs_grad(writer)) {
        ops::linear_backward_weight(ctx, {.x = low.slice(1, column, column + writer.dim(1)),
                                          .d_out = d_out.slice(1, row, row + writer.dim(0)),
                                          .d_weight = tape.accumulator(writer)});
      }
    });
    pass_on(tape, out, m.residual);
  });
  return out;
}

}  // namespace offbook::autograd
