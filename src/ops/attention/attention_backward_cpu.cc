#include <algorithm>
#include <cmath>
#include <limits>

#include "src/backend/cpu/features.h"
#include "src/ops/attention/checks.h"
#include "src/ops/attention/problem.h"
#include "src/ops/registry.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/attention/backward.h"
#include "src/ops/attention/backward_pairs_cpu.h"

namespace offbook::ops::OB_ISA {
namespace {

// With fewer key heads than this, each query head sums d_k and d_v alone: more items to run side by
// side, for heads / kv_heads times the memory.
constexpr int64_t kSharedSumsFrom = 8;

int64_t gradient_sums(const AttentionProblem& p) {
  return p.kv_heads() >= kSharedSumsFrom ? p.kv_heads() : p.heads();
}

// Sequences group[i] … group[i + 1] - 1 share no key with those before or after.
struct SequenceGroups {
  const int32_t* group;
  int64_t count;
};

// Cuts the list where all keys before stand in rows below all keys after.
SequenceGroups sequence_groups(const ExecutionContext& ctx, const AttentionProblem& p) {
  const Tensor memory = ctx.make(Dtype::i32, {2, p.sequences + 1});
  auto* const lowest_after = memory.data<int32_t>();
  auto* const group = lowest_after + p.sequences + 1;
  lowest_after[p.sequences] = std::numeric_limits<int32_t>::max();
  for (int64_t i = p.sequences - 1; i >= 0; --i) {
    const AttentionSequence& s = p.packed[i];
    lowest_after[i] = lowest_after[i + 1];
    if (s.length > 0) {
      lowest_after[i] = std::min(lowest_after[i], s.own_begin);
    }
    if (s.length > 0 && s.prefix_len > 0) {
      lowest_after[i] = std::min(lowest_after[i], s.prefix_begin);
    }
  }
  int64_t count = 0;
  int64_t end = 0;
  for (int64_t i = 0; i < p.sequences; ++i) {
    const AttentionSequence& s = p.packed[i];
    if (count == 0 || end <= lowest_after[i]) {
      group[count++] = static_cast<int32_t>(i);
    }
    if (s.length > 0) {
      end = std::max<int64_t>({end, int64_t{s.own_begin} + s.length,
                               s.prefix_len > 0 ? int64_t{s.prefix_begin} + s.prefix_len : 0});
    }
  }
  group[count] = static_cast<int32_t>(p.sequences);
  return {group, count};
}

// Sums of every item side by side: [sums, rows of k, wide].
struct SumsLayout {
  int64_t sums;
  int64_t rows;
  int64_t wide;
};

// d [rows, kv_heads, dim] += the sums of the heads of each key head, in order.
void add_sums(const ExecutionContext& ctx, const float* from, SumsLayout l, const Tensor& d) {
  constexpr int64_t kRowsPerTask = 16;
  const int64_t group = l.sums / d.dim(1);
  with_activation_type(d.dtype(), [&](auto* type) {
    using D = std::remove_pointer_t<decltype(type)>;
    ctx.pool->parallel_for(l.rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t h = 0; h < d.dim(1); ++h) {
          D* const to = head_of<D>(d, row, h);
          for_lanes(d.dim(2), [&](int64_t i, int n) {
            Vec sum = zero();
            for (int64_t g = h * group; g < (h + 1) * group; ++g) {
              sum = sum + load(from + (g * l.rows + row) * l.wide + i);
            }
            store_some(to + i, load_some(to + i, n) + sum, n);
          });
        }
      }
    });
  });
}

// Kernels: Backward or PairedBackward of the type of keys and values.
template <typename Kernels>
void backward_as(const ExecutionContext& ctx, const AttentionProblem& p,
                 const AttentionBackwardArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const typename Kernels::Scratch sizes(p, nullptr);
  const SumsLayout l{gradient_sums(p), p.k.dim(0), sizes.wide};
  const SequenceGroups groups = sequence_groups(ctx, p);
  const Tensor scratch = ctx.make(Dtype::f32, {ctx.pool->threads(), sizes.floats});
  const Tensor d_k = ctx.make(Dtype::f32, {l.sums, l.rows, l.wide});
  const Tensor d_v = ctx.make(Dtype::f32, {l.sums, l.rows, l.wide});
  ctx.pool->run(l.sums, [&](int64_t i) {
    for (const Tensor& sums : {d_k, d_v}) {
      std::fill_n(sums.data<float>() + i * l.rows * l.wide, l.rows * l.wide, 0.0f);
    }
  });
  run_items(*ctx.pool, groups.count * l.sums, [&](int64_t worker, int64_t item) {
    const int64_t sum = item % l.sums;
    const int64_t heads = p.heads() / l.sums;
    const GradientSums sums{d_k.data<float>() + sum * l.rows * l.wide,
                            d_v.data<float>() + sum * l.rows * l.wide};
    Kernels backward(p, a, scratch.data<float>() + worker * sizes.floats);
    const int32_t* const group = groups.group + item / l.sums;
    for (int64_t i = group[0]; i < group[1]; ++i) {
      for (int64_t head = sum * heads; head < (sum + 1) * heads; ++head) {
        backward.run(p.sequence(i), head, sums);
      }
    }
  });
  add_sums(ctx, d_k.data<float>(), l, a.d_k);
  add_sums(ctx, d_v.data<float>(), l, a.d_v);
}

}  // namespace

void attention_backward(const ExecutionContext& ctx, const AttentionBackwardArgs& a) {
  clear_overwritten(ctx, a);
  const AttentionProblem p = problem_of(a.forward);
  with_activation_type(p.k.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
#if defined(OB_ISA_AVX512)
    if (ctx.compute == Compute::bf16 && has_quick_pairs()) {
      return backward_as<PairedBackward<T>>(ctx, p, a);
    }
#endif
    backward_as<Backward<T>>(ctx, p, a);
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
