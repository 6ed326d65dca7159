#include "src/ops/dispatch.h"
#include "src/ops/kernel_types.h"
#include "src/ops/registry.h"

#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kElemsPerTask = 32768;  // 128 kB of f32: small enough for L2, long enough to pay for a task

int64_t rows_per_task(int64_t dim) { return dim >= kElemsPerTask ? 1 : (kElemsPerTask + dim) / (dim + 1); }

// Runs fn(begin, end) over the rows of a tensor.
template <typename Fn>
void over_rows(const ExecutionContext& ctx, const Rows& rows, const Fn& fn) {
  ctx.pool->parallel_for(rows.count(), rows_per_task(rows.dim()), fn);
}

}  // namespace

void add(const ExecutionContext& ctx, const AddArgs& args) {
  const Rows a(args.a);
  const Rows b(args.b);
  const Rows out(args.out);
  with_activation_type(args.a.dtype(), [&](auto* xt) {
    with_activation_type(args.out.dtype(), [&](auto* ot) {
      using X = OB_TYPE(xt);
      using O = OB_TYPE(ot);
      over_rows(ctx, a, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const X* x = a.row<X>(r);
          const X* y = b.row<X>(r);
          O* to = out.row<O>(r);
          for_lanes(a.dim(), [&](int64_t i, int n) { store_some(to + i, load_some(x + i, n) + load_some(y + i, n), n); });
        }
      });
    });
  });
}

void copy(const ExecutionContext& ctx, const CopyArgs& args) {
  const Rows x(args.x);
  const Rows out(args.out);
  if (args.x.dtype() == Dtype::i32) {
    for (int64_t r = 0; r < x.count(); ++r) {
      std::memcpy(out.row<int32_t>(r), x.row<int32_t>(r), static_cast<size_t>(x.dim()) * sizeof(int32_t));
    }
    return;
  }
  with_activation_type(args.x.dtype(), [&](auto* xt) {
    with_activation_type(args.out.dtype(), [&](auto* ot) {
      using X = OB_TYPE(xt);
      using O = OB_TYPE(ot);
      const Vec alpha = splat(args.alpha);
      over_rows(ctx, x, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const X* from = x.row<X>(r);
          O* to = out.row<O>(r);
          for_lanes(x.dim(), [&](int64_t i, int n) {
            const Vec before = args.write == Write::accumulate ? load_some(to + i, n) : zero();
            store_some(to + i, fma(load_some(from + i, n), alpha, before), n);
          });
        }
      });
    });
  });
}

void fill(const ExecutionContext& ctx, const FillArgs& args) {
  const Rows out(args.out);
  const auto run = [&](auto value) {
    over_rows(ctx, out, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        std::fill_n(out.row<decltype(value)>(r), out.dim(), value);
      }
    });
  };
  if (args.out.dtype() == Dtype::f32) {
    run(args.value);
  } else if (args.out.dtype() == Dtype::bf16) {
    run(to_bf16(args.value));
  } else {
    run(static_cast<int32_t>(args.value));
  }
}

void affine_rows(const ExecutionContext& ctx, const AffineRowsArgs& args) {
  const Rows x(args.x);
  const Rows out(args.out);
  const float* row = args.row.data<float>();
  const Vec scale = splat(*args.scale.data<float>());
  with_activation_type(args.x.dtype(), [&](auto* xt) {
    with_activation_type(args.out.dtype(), [&](auto* ot) {
      using X = OB_TYPE(xt);
      using O = OB_TYPE(ot);
      over_rows(ctx, x, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const X* from = x.row<X>(r);
          O* to = out.row<O>(r);
          for_lanes(x.dim(), [&](int64_t i, int n) {
            store_some(to + i, fma(load_some(from + i, n), scale, load_some(row + i, n)), n);
          });
        }
      });
    });
  });
}

void affine_rows_backward(const ExecutionContext& ctx, const AffineRowsBackwardArgs& args) {
  backend::ArenaScope scope(*ctx.arena);
  const Rows x(args.x);
  const Rows d_out(args.d_out);
  const float scale = *args.scale.data<float>();
  const int64_t dim = x.dim();
  constexpr int64_t kColumns = 64;
  const int64_t tasks = (dim + kColumns - 1) / kColumns;
  // One partial of d_scale a task, summed in task order below.
  const Tensor partial = ctx.make(Dtype::f32, {tasks});
  with_activation_type(args.x.dtype(), [&](auto* xt) {
    with_activation_type(args.d_out.dtype(), [&](auto* dt) {
      using X = OB_TYPE(xt);
      using D = OB_TYPE(dt);
      ctx.pool->run(tasks, [&](int64_t task) {
        const int64_t begin = task * kColumns;
        const int64_t width = std::min(kColumns, dim - begin);
        float* d_row = args.d_row.data<float>() + begin;
        Vec products = zero();
        for (int64_t r = 0; r < x.count(); ++r) {
          const X* xr = x.row<X>(r) + begin;
          const D* dr = d_out.row<D>(r) + begin;
          for_lanes(width, [&](int64_t i, int n) {
            const Vec d = load_some(dr + i, n);
            products = fma(d, load_some(xr + i, n), products);
            store_some(d_row + i, load_some(d_row + i, n) + d, n);
          });
        }
        partial.data<float>()[task] = sum(products);
      });
      if (args.d_x.defined()) {
        const Rows d_x(args.d_x);
        with_activation_type(args.d_x.dtype(), [&](auto* gt) {
          using G = OB_TYPE(gt);
          over_rows(ctx, x, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) {
              const D* from = d_out.row<D>(r);
              G* to = d_x.row<G>(r);
              for_lanes(dim, [&](int64_t i, int n) {
                store_some(to + i, fma(load_some(from + i, n), splat(scale), load_some(to + i, n)), n);
              });
            }
          });
        });
      }
    });
  });
  for (int64_t task = 0; task < tasks; ++task) {
    *args.d_scale.data<float>() += partial.data<float>()[task];
  }
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
