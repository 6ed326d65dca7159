#include "src/autograd/functional.h"

#include "src/ops/registry.h"

namespace offbook::autograd {
namespace {

// Adds `gradient`, which has the shape of t, to t's gradient.
void contribute(Tape& tape, const Tensor& t, const Tensor& gradient) {
  const Tape::Target to = tape.target(t);
  ops::copy(tape.ctx(), {.x = gradient, .write = to.write, .out = to.tensor});
}

}  // namespace

Tensor embedding(const Graph& g, const Tensor& ids, const Tensor& table, Dtype dtype) {
  const Tensor out = g.make(dtype, {ids.dim(0), table.dim(1)});
  ops::embedding(g.ctx, {.ids = ids, .table = table, .out = out});
  if (g.needs_grad(table)) {
    g.tape->record({out}, [=](Tape& tape) {
      ops::embedding_backward(
          tape.ctx(), {.ids = ids, .d_out = tape.grad(out), .d_table = tape.accumulator(table)});
    });
  }
  return out;
}

Tensor rms_norm(const Graph& g, const Tensor& x, const Tensor& weight, float eps) {
  const Tensor out = g.make(x.dtype(), x.shape());
  rms_norm_into(g, x, weight, eps, out);
  return out;
}

void rms_norm_into(const Graph& g, const Tensor& x, const Tensor& weight, float eps,
                   const Tensor& out) {
  ops::rms_norm(g.ctx, {.x = x, .weight = weight, .eps = eps, .out = out});
  if (g.needs_grad(x) || g.needs_grad(weight)) {
    g.tape->record({out}, [=](Tape& tape) {
      const bool to_x = tape.needs_grad(x);
      const bool to_weight = tape.needs_grad(weight);
      backend::ArenaScope scope(*tape.ctx().arena);
      const Tape::Target d_x =
          to_x ? tape.target(x)
               : Tape::Target{tape.ctx().make(x.dtype(), x.shape()), Write::overwrite};
      ops::rms_norm_backward(tape.ctx(),
                             {.x = x,
                              .weight = weight,
                              .eps = eps,
                              .d_out = tape.grad(out),
                              .d_x = d_x.tensor,
                              .d_weight = to_weight ? tape.accumulator(weight) : Tensor(),
                              .write = d_x.write});
    });
  }
}

namespace {

void record_linear(const Graph& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   float alpha, const Tensor& out) {
  if (!g.needs_grad(x) && !g.needs_grad(weight) && !g.needs_grad(bias)) {
    return;
  }
  g.tape->record({out}, [=](Tape& tape) {
    const Tensor d_out = tape.grad(out);
    if (tape.needs_grad(x)) {
      const Tape::Target to = tape.target(x);
      ops::linear_backward_input(
          tape.ctx(),
          {.d_out = d_out, .weight = weight, .alpha = alpha, .write = to.write, .d_x = to.tensor});
    }
    if (tape.needs_grad(weight)) {
      ops::linear_backward_weight(
          tape.ctx(),
          {.x = x,
           .d_out = d_out,
           .alpha = alpha,
           .d_weight = tape.accumulator(weight),
           .d_bias = bias.defined() && tape.needs_grad(bias) ? tape.accumulator(bias) : Tensor()});
    }
  });
}

}  // namespace

Tensor linear(const Graph& g, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Tensor out = g.make(x.dtype(), {x.dim(0), weight.dim(0)});
  ops::linear(g.ctx, {.x = x, .weight = weight, .bias = bias, .out = out});
  record_linear(g, x, weight, bias, 1.0f, out);
  return out;
}

void linear_into(const Graph& g, const Tensor& x, const Tensor& weight, float alpha,
                 const Tensor& y) {
  ops::linear(g.ctx,
              {.x = x, .weight = weight, .alpha = alpha, .write = Write::accumulate, .out = y});
  record_linear(g, x, weight, Tensor(), alpha, y);
}

Tensor add(const Graph& g, const Tensor& a, const Tensor& b) {
  const Tensor out = g.make(a.dtype(), a.shape());
  ops::add(g.ctx, {.a = a, .b = b, .out = out});
  if (g.needs_grad(a) || g.needs_grad(b)) {
    g.tape->record({out}, [=](Tape& tape) {
      if (tape.needs_grad(a)) {
        contribute(tape, a, tape.grad(out));
      }
      if (tape.needs_grad(b) && !tape.hand_over(out, b)) {
        contribute(tape, b, tape.grad(out));
      }
    });
  }
  return out;
}

Tensor swiglu(const Graph& g, const Tensor& gate, const Tensor& up) {
  const Tensor out = g.make(gate.dtype(), gate.shape());
  swiglu_into(g, gate, up, out);
  return out;
}

void swiglu_into(const Graph& g, const Tensor& gate, const Tensor& up, const Tensor& out) {
  ops::swiglu(g.ctx, {.gate = gate, .up = up, .out = out});
  if (g.needs_grad(gate)) {
    OB_CHECK(g.needs_grad(up));
    g.tape->record({out}, [=](Tape& tape) {
      // Overwrites both: gate and up feed nothing else in any model here, and halves of one tensor
      // each get their own part of the twin.
      const auto halves = tape.parts({gate, up});
      ops::swiglu_backward(tape.ctx(),
                           {.gate = gate,
                            .up = up,
                            .d_out = tape.grad(out),
                            .d_gate = halves ? halves->front() : tape.target(gate).tensor,
                            .d_up = halves ? halves->back() : tape.target(up).tensor});
    });
  }
}

Tensor rope(const Graph& g, const Tensor& x, const Tensor& table) {
  const Tensor out = g.make(x.dtype(), x.shape());
  ops::rope(g.ctx, {.x = x, .table = table, .out = out});
  if (g.needs_grad(x)) {
    g.tape->record({out}, [=](Tape& tape) {
      const Tape::Target to = tape.target(x);
      ops::rope(tape.ctx(), {.x = tape.grad(out),
                             .table = table,
                             .rotation = ops::Rotation::inverse,
                             .write = to.write,
                             .out = to.tensor});
    });
  }
  return out;
}

void rope_in_place(const Graph& g, const Tensor& x, const Tensor& table) {
  ops::rope(g.ctx, {.x = x, .table = table, .out = x});
  if (g.needs_grad(x)) {
    g.tape->record({x}, [=](Tape& tape) {
      const Tensor gradient = tape.grad(x);
      ops::rope(
          tape.ctx(),
          {.x = gradient, .table = table, .rotation = ops::Rotation::inverse, .out = gradient});
    });
  }
}

Tensor attention(const Graph& g, ops::AttentionArgs args) {
  args.out = g.make(args.q.dtype(), args.q.shape());
  attention_into(g, args);
  return args.out;
}

void attention_into(const Graph& g, ops::AttentionArgs args) {
  const bool recorded = g.needs_grad(args.q) || g.needs_grad(args.k) || g.needs_grad(args.v);
  if (recorded) {
    args.lse = g.make(Dtype::f32, {args.q.dim(0), args.q.dim(1)});
  }
  ops::attention(g.ctx, args);
  if (recorded) {
    g.tape->record({args.out}, [=](Tape& tape) {
      backend::ArenaScope scope(*tape.ctx().arena);
      const auto to = [&](const Tensor& t) {
        return tape.needs_grad(t)
                   ? tape.target(t)
                   : Tape::Target{tape.ctx().make(t.dtype(), t.shape()), Write::overwrite};
      };
      // Where q, k and v make up one tensor, each fills its own part of the gradient.
      const auto parts =
          tape.needs_grad(args.q) ? tape.parts({args.q, args.k, args.v}) : std::nullopt;
      const auto part = [&](size_t i) { return Tape::Target{(*parts)[i], Write::overwrite}; };
      const Tape::Target q = parts ? part(0) : to(args.q);
      const Tape::Target k = parts ? part(1) : to(args.k);
      const Tape::Target v = parts ? part(2) : to(args.v);
      ops::attention_backward(tape.ctx(), {.forward = args,
                                           .d_out = tape.grad(args.out),
                                           .d_q = q.tensor,
                                           .d_k = k.tensor,
                                           .d_v = v.tensor,
                                           .write_q = q.write,
                                           .write_k = k.write,
                                           .write_v = v.write});
    });
  }
}

namespace {

Shape with_rows(const Tensor& t, int64_t rows) {
  Shape shape = t.shape();
  shape[0] = rows;
  return shape;
}

}  // namespace

Tensor gather_rows(const Graph& g, const Tensor& x, const Tensor& index, Places places) {
  const Tensor out = g.make(x.dtype(), with_rows(x, index.dim(0)));
  ops::gather_rows(g.ctx, {.x = x, .index = index, .out = out});
  if (g.needs_grad(x)) {
    g.tape->record({out}, [=](Tape& tape) {
      ops::scatter_rows(tape.ctx(), {.x = tape.grad(out),
                                     .index = index,
                                     .write = Write::accumulate,
                                     .is_distinct = places == Places::distinct,
                                     .out = tape.accumulator(x)});
    });
  }
  return out;
}

void scatter_rows(const Graph& g, const Tensor& x, const Tensor& index, const Tensor& out) {
  ops::scatter_rows(g.ctx, {.x = x, .index = index, .out = out});
  if (g.needs_grad(x)) {
    g.tape->record({out}, [=](Tape& tape) {
      const Tape::Target to = tape.target(x);
      ops::gather_rows(tape.ctx(),
                       {.x = tape.grad(out), .index = index, .write = to.write, .out = to.tensor});
    });
  }
}

Tensor segment_mean(const Graph& g, const Tensor& x, const Tensor& offsets, int64_t segments) {
  const Tensor out = g.make(x.dtype(), with_rows(x, segments));
  ops::segment_mean(g.ctx, {.x = x, .offsets = offsets, .out = out});
  if (g.needs_grad(x)) {
    g.tape->record({out}, [=](Tape& tape) {
      ops::segment_mean_backward(
          tape.ctx(), {.offsets = offsets, .d_out = tape.grad(out), .d_x = tape.accumulator(x)});
    });
  }
  return out;
}

Tensor affine_rows(const Graph& g, const Tensor& x, const Tensor& scale, const Tensor& row) {
  const Tensor out = g.make(x.dtype(), x.shape());
  ops::affine_rows(g.ctx, {.x = x, .scale = scale, .row = row, .out = out});
  if (g.needs_grad(x) || g.needs_grad(scale) || g.needs_grad(row)) {
    g.tape->record({out}, [=](Tape& tape) {
      backend::ArenaScope scope(*tape.ctx().arena);
      const auto to = [&](const Tensor& t) {
        if (tape.needs_grad(t)) {
          return tape.accumulator(t);
        }
        const Tensor unused = tape.ctx().make(Dtype::f32, t.shape());
        ops::fill(tape.ctx(), {.value = 0, .out = unused});
        return unused;
      };
      ops::affine_rows_backward(tape.ctx(),
                                {.x = x,
                                 .scale = scale,
                                 .d_out = tape.grad(out),
                                 .d_x = tape.needs_grad(x) ? tape.accumulator(x) : Tensor(),
                                 .d_scale = to(scale),
                                 .d_row = to(row)});
    });
  }
  return out;
}

Tensor concat_rows(const Graph& g, const Tensor& a, const Tensor& b) {
  const int64_t n = a.dim(0);
  const Tensor out = g.make(a.dtype(), with_rows(a, n + b.dim(0)));
  const Tensor top = out.slice(0, 0, n);
  const Tensor bottom = out.slice(0, n, out.dim(0));
  ops::copy(g.ctx, {.x = a, .out = top});
  ops::copy(g.ctx, {.x = b, .out = bottom});
  if (g.needs_grad(a) || g.needs_grad(b)) {
    g.tape->record({out}, [=](Tape& tape) {
      if (tape.needs_grad(a)) {
        contribute(tape, a, tape.grad(top));
      }
      if (tape.needs_grad(b)) {
        contribute(tape, b, tape.grad(bottom));
      }
    });
  }
  return out;
}

}  // namespace offbook::autograd
