#include <cmath>

#include "src/ops/dispatch.h"
#include "src/ops/kernel_types.h"
#include "src/ops/registry.h"

#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kRowsPerTask = 32;
constexpr int64_t kColumns = 64;

// [n, …rest] as [n, product of rest].
Tensor flat(const Tensor& t) {
  return t.rank() == 2 ? t : t.merge_last();
}

template <typename X, typename O>
void move_span(const X* from, O* to, int64_t count, Write write) {
  for_lanes(count, [&](int64_t i, int n) {
    Vec v = load_some(from + i, n);
    if (write == Write::accumulate) {
      v = v + load_some(to + i, n);
    }
    store_some(to + i, v, n);
  });
}

}  // namespace

void gather_rows(const ExecutionContext& ctx, const GatherRowsArgs& a) {
  const Rows x(flat(a.x));
  const Rows out(flat(a.out));
  const int32_t* index = a.index.data<int32_t>();
  with_activation_type(a.x.dtype(), [&](auto* xt) {
    with_activation_type(a.out.dtype(), [&](auto* ot) {
      ctx.pool->parallel_for(a.index.dim(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          move_span(x.row<OB_TYPE(xt)>(index[r]), out.row<OB_TYPE(ot)>(r), x.dim(), a.write);
        }
      });
    });
  });
}

void scatter_rows(const ExecutionContext& ctx, const ScatterRowsArgs& a) {
  const Rows x(flat(a.x));
  const Rows out(flat(a.out));
  const int32_t* index = a.index.data<int32_t>();
  with_activation_type(a.x.dtype(), [&](auto* xt) {
    with_activation_type(a.out.dtype(), [&](auto* ot) {
      // A task owns columns: rows named twice are added in order.
      ctx.pool->parallel_for(x.dim(), kColumns, [&](int64_t begin, int64_t end) {
        for (int64_t r = 0; r < a.index.dim(0); ++r) {
          move_span(x.row<OB_TYPE(xt)>(r) + begin, out.row<OB_TYPE(ot)>(index[r]) + begin, end - begin, a.write);
        }
      });
    });
  });
}

void segment_mean(const ExecutionContext& ctx, const SegmentMeanArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const Rows x(a.x);
  const Rows out(a.out);
  const int32_t* offsets = a.offsets.data<int32_t>();
  const Tensor sums = ctx.make(Dtype::f32, {a.out.dim(0), x.dim()});
  const Rows total(sums);
  with_activation_type(a.x.dtype(), [&](auto* xt) {
    with_activation_type(a.out.dtype(), [&](auto* ot) {
      ctx.pool->run(a.out.dim(0), [&](int64_t s) {
        float* mean = total.row<float>(s);
        std::fill(mean, mean + x.dim(), 0.0f);
        for (int32_t r = offsets[s]; r < offsets[s + 1]; ++r) {
          move_span(x.row<OB_TYPE(xt)>(r), mean, x.dim(), Write::accumulate);
        }
        const int32_t count = offsets[s + 1] - offsets[s];
        float scale = count > 0 ? 1.0f / static_cast<float>(count) : 0.0f;
        if (a.l2_normalise) {
          Vec squares = zero();
          for_lanes(x.dim(), [&](int64_t i, int n) {
            const Vec v = load_some(mean + i, n);
            squares = fma(v, v, squares);
          });
          const float length = std::sqrt(sum(squares));
          scale = length > 0 ? 1.0f / length : 0.0f;
        }
        auto* to = out.row<OB_TYPE(ot)>(s);
        for_lanes(x.dim(), [&](int64_t i, int n) { store_some(to + i, load_some(mean + i, n) * splat(scale), n); });
      });
    });
  });
}

void segment_mean_backward(const ExecutionContext& ctx, const SegmentMeanBackwardArgs& a) {
  const Rows d_out(a.d_out);
  const Rows d_x(a.d_x);
  const int32_t* offsets = a.offsets.data<int32_t>();
  with_activation_type(a.d_out.dtype(), [&](auto* dt) {
    with_activation_type(a.d_x.dtype(), [&](auto* gt) {
      ctx.pool->run(a.d_out.dim(0), [&](int64_t s) {
        const Vec share = splat(1.0f / static_cast<float>(std::max(1, offsets[s + 1] - offsets[s])));
        const auto* from = d_out.row<OB_TYPE(dt)>(s);
        for (int32_t r = offsets[s]; r < offsets[s + 1]; ++r) {
          auto* to = d_x.row<OB_TYPE(gt)>(r);
          for_lanes(d_x.dim(), [&](int64_t i, int n) {
            store_some(to + i, fma(load_some(from + i, n), share, load_some(to + i, n)), n);
          });
        }
      });
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
