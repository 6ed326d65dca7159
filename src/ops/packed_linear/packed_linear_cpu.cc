#include <cmath>

#include "src/ops/dispatch.h"
#include "src/ops/packed_linear/packed_linear.h"
#include "src/ops/tiles.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/packed_linear/few_rows_cpu.h"
#include "src/ops/packed_linear/many_rows_cpu.h"

// Compiled with -ffp-contract=off, so that every number of rows rounds alike.
namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kRowsPerTask = 16;      // of x that are normalised or converted
constexpr int64_t kTaskBytes = 64 << 10;  // of weights a task multiplies with few rows: some µs
constexpr int64_t kPanelsPerTask =
    4;  // that are decoded for many rows: 74 kB for 576 inputs, in L2

// x of one row, RMS-normalised where there is a norm, to f32 or bf16.
template <typename T>
void input_row(const PackedLinearArgs& a, int64_t row, T* to) {
  const auto* x = reinterpret_cast<const float*>(a.x.row_raw(row));
  const int64_t dim = a.x.dim(1);
  if (!a.norm.defined()) {
    for_lanes(dim, [&](int64_t i, int n) { store_some(to + i, load_some(x + i, n), n); });
    return;
  }
  Vec squares = zero();
  for_lanes(dim, [&](int64_t i, int n) {
    const Vec v = load_some(x + i, n);
    squares = fma(v, v, squares);
  });
  const Vec r = splat(1.0f / std::sqrt(sum(squares) / static_cast<float>(dim) + a.eps));
  const auto* norm = a.norm.data<float>();
  for_lanes(dim, [&](int64_t i, int n) {
    store_some(to + i, load_some(x + i, n) * r * load_some(norm + i, n), n);
  });
}

// Writes the products of one row with the 16 weight rows of a panel; for SwiGLU with two panels.
void write(const PackedLinearArgs& a, int64_t row, int64_t panel, const float* products,
           const float* up) {
  float* to = reinterpret_cast<float*>(a.out.row_raw(row)) +
              (up != nullptr ? panel / 2 : panel) * kPanelRows;
  for (int i = 0; i < kPanelRows; i += Vec::kLanes) {
    Vec v = load(products + i);
    if (up != nullptr) {
      v = silu(v) * load(up + i);
    }
    if (a.bias.defined()) {
      v = v + load(a.bias.data<float>() + panel * kPanelRows + i);
    }
    if (a.end == PackedEnd::gelu) {
      v = gelu_of(v);
    }
    if (a.write == Write::accumulate) {
      v = v + load(to + i);
    }
    store(to + i, v);
  }
}

// A run of panels of one part: `first` counts them in the whole matrix.
struct Run {
  const PackedPart* part;
  int64_t begin;  // in the part
  int64_t end;
  int64_t first;
};

// The panels of all parts in order, cut into runs of an even number: of `most` at first, of fewer
// towards the end, so that threads end together (36 panels in runs of four kept one of two threads
// waiting for a tenth of the time).
class Cut {
 public:
  Cut(const PackedMatrix& w, int64_t most, int64_t threads)
      : w_(w), most_(most), threads_(threads), left_(w.rows / kPanelRows) {}

  bool next(Run& run) {
    while (part_ < w_.parts.size() && begin_ == w_.parts[part_].panels.dim(0)) {
      ++part_;
      begin_ = 0;
    }
    if (part_ == w_.parts.size()) {
      return false;
    }
    const int64_t size = std::clamp<int64_t>(left_ / (4 * threads_) * 2, 2, most_);
    const int64_t end = std::min(begin_ + size, w_.parts[part_].panels.dim(0));
    run = {&w_.parts[part_], begin_, end, w_.rows / kPanelRows - left_};
    left_ -= end - begin_;
    begin_ = end;
    return true;
  }

 private:
  const PackedMatrix& w_;
  int64_t most_;
  int64_t threads_;
  int64_t left_;
  size_t part_ = 0;
  int64_t begin_ = 0;
};

int64_t count_runs(const ExecutionContext& ctx, const PackedMatrix& w, int64_t most) {
  Cut cut(w, most, ctx.pool->threads());
  Run run;
  int64_t count = 0;
  while (cut.next(run)) {
    ++count;
  }
  return count;
}

// Calls fn(run, block, scratch) for each run of at most `most` (even) panels and each block <
// `blocks`, on the pool's threads.
template <typename Fn>
void for_runs(const ExecutionContext& ctx, const PackedMatrix& w, int64_t most, int64_t blocks,
              int64_t scratch_bytes, const Fn& fn) {
  const int64_t tasks = count_runs(ctx, w, most) * blocks;
  for_tiles(ctx, tasks, scratch_bytes, [&](int64_t task, std::byte* scratch) {
    Cut cut(w, most, ctx.pool->threads());
    Run run;
    for (int64_t i = 0; i <= task / blocks; ++i) {
      cut.next(run);
    }
    fn(run, task % blocks, scratch);
  });
}

Int8Groups quantise(const ExecutionContext& ctx, const PackedLinearArgs& a) {
  const int64_t n = a.x.dim(0);
  const int64_t cols = a.x.dim(1);
  const int64_t groups = cols / kPanelGroup;
  Int8Groups out{ctx.make(Dtype::i8, {n, cols}), ctx.make(Dtype::i32, {n, groups * 2}),
                 ctx.make(Dtype::f32, {n, groups}), groups};
  const Tensor row = ctx.make(Dtype::f32, {n, cols});
  // On this thread: a row takes about 1 µs, as long as waking another thread.
  for (int64_t r = 0; r < n; ++r) {
    auto* x = row.data<float>() + r * cols;
    input_row(a, r, x);
    quantise_groups(x, groups, out.values.data<int8_t>() + r * cols,
                    out.sums.data<int32_t>() + r * groups * 2,
                    out.scales.data<float>() + r * groups);
  }
  return out;
}

// Calls fn with 1…8 as a constant.
template <typename Fn>
inline void with_count(int64_t rows, const Fn& fn) {
  switch (rows) {
    case 1:
      return fn(std::integral_constant<int, 1>{});
    case 2:
      return fn(std::integral_constant<int, 2>{});
    case 3:
      return fn(std::integral_constant<int, 3>{});
    case 4:
      return fn(std::integral_constant<int, 4>{});
    case 5:
      return fn(std::integral_constant<int, 5>{});
    case 6:
      return fn(std::integral_constant<int, 6>{});
    case 7:
      return fn(std::integral_constant<int, 7>{});
    default:
      return fn(std::integral_constant<int, 8>{});
  }
}

// x as factors of bf16 panels, normalised where there is a norm; on the pool's threads where it
// pays.
Tensor factor_rows(const ExecutionContext& ctx, const PackedLinearArgs& a) {
  const int64_t cols = a.x.dim(1);
  constexpr Dtype kFactor = std::is_same_v<Factor, Bf16> ? Dtype::bf16 : Dtype::f32;
  const Tensor x = ctx.make(kFactor, {a.x.dim(0), cols});
  ctx.pool->parallel_for(a.x.dim(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      input_row(a, r, reinterpret_cast<Factor*>(x.raw()) + r * cols);
    }
  });
  return x;
}

// Rows of x as both kinds of parts take them; only those that are there.
struct FewRows {
  Int8Groups quantised;
  Tensor plain;
};

// sums[r] = row r · the rows of a panel.
template <int R>
void panel_products(const PackedPart& part, int64_t panel, const FewRows& x, int64_t cols,
                    float (*sums)[kPanelRows]) {
  with_form(part.form, [&](auto form) {
    using F = decltype(form);
    if constexpr (F::is_plain) {
      plain_panel_times_rows<R>(part.panels.row_raw(panel), cols,
                                reinterpret_cast<const Factor*>(x.plain.raw()), sums);
    } else {
      panel_times_rows<F, R>(part.panels.row_raw(panel), part.form.offset, x.quantised, sums);
    }
  });
}

void multiply_few(const ExecutionContext& ctx, const PackedLinearArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const int64_t n = a.x.dim(0);
  FewRows x;
  for (const PackedPart& part : a.matrix->parts) {
    if (part.form.is_plain && !x.plain.defined()) {
      x.plain = factor_rows(ctx, a);
    } else if (!part.form.is_plain && !x.quantised.values.defined()) {
      x.quantised = quantise(ctx, a);
    }
  }
  const int64_t stride = a.end == PackedEnd::swiglu ? 2 : 1;
  const int64_t panel_bytes = a.matrix->parts[0].panels.dim(1);
  const int64_t panels = std::max<int64_t>(1, kTaskBytes / panel_bytes / 2) * 2;
  for_runs(ctx, *a.matrix, panels, 1, 0, [&](const Run& run, int64_t, std::byte*) {
    with_count(n, [&](auto count) {
      float sums[2][kFewRows][kPanelRows];
      for (int64_t p = run.begin; p < run.end; p += stride) {
        for (int64_t i = 0; i < stride; ++i) {
          panel_products<count.value>(*run.part, p + i, x, a.matrix->cols, sums[i]);
        }
        for (int64_t r = 0; r < n; ++r) {
          write(a, r, run.first + p - run.begin, sums[0][r], stride == 2 ? sums[1][r] : nullptr);
        }
      }
    });
  });
}

// The panels of a run as factors: in place where they are.
const Factor* run_factors(const Run& run, int64_t cols, std::byte* scratch) {
  if (run.part->form.is_plain && std::is_same_v<Factor, Bf16>) {
    return reinterpret_cast<const Factor*>(run.part->panels.row_raw(run.begin));
  }
  const int64_t panels = run.end - run.begin;
  auto* to = reinterpret_cast<Factor*>(scratch);
  with_form(run.part->form, [&](auto form) {
    using F = decltype(form);
    for (int64_t p = 0; p < panels; ++p) {
      const std::byte* panel = run.part->panels.row_raw(run.begin + p);
      if constexpr (F::is_plain) {
        decode_plain_panel(panel, cols, to + p * cols * kPanelRows);
      } else {
        decode_panel<F>(panel, run.part->form.offset, cols, to + p * cols * kPanelRows);
      }
    }
  });
  return to;
}

struct RowSpan {
  int64_t begin;
  int64_t end;
};

// Multiplies a block of rows with the first of `panels` panels and gives how many it took.
template <Finish kFinish>
int64_t multiply_panels(int64_t rows, const Factor* x, const Factor* factors, int64_t panels,
                        int64_t cols, TileEnd end, [[maybe_unused]] float* gates) {
#if defined(OB_ISA_AVX512)
  if (panels >= 4) {
    multiply_rows<kFinish, 4>(rows, x, cols, factors, cols, end);
    return 4;
  }
  if (panels >= 2) {
    multiply_rows<kFinish, 2>(rows, x, cols, factors, cols, end);
    return 2;
  }
  constexpr Finish kAlone = kFinish == Finish::swiglu ? Finish::overwrite : kFinish;
  multiply_rows<kAlone, 1>(rows, x, cols, factors, cols, end);  // gates never stand alone
  return 1;
#else
  if constexpr (kFinish == Finish::swiglu) {  // a gate panel waits for its neighbour
    OB_CHECK(panels >= 2);
    multiply_rows<Finish::overwrite, 2>(rows, x, cols, factors, cols,
                                        {gates, kPanelRows, nullptr, nullptr});
    end.gates = gates;
    multiply_rows<kFinish, 2>(rows, x, cols, factors + cols * kPanelRows, cols, end);
    return 2;
  }
  multiply_rows<kFinish, 2>(rows, x, cols, factors, cols, end);
  return 1;
#endif
}

// Multiplies the panels of a run with some rows: a row's products are finished while they are in
// registers.
template <Finish kFinish>
void multiply_run(const PackedLinearArgs& a, const Tensor& x, const Run& run, RowSpan all,
                  std::byte* scratch) {
  const int64_t cols = a.matrix->cols;
  const Factor* factors = run_factors(run, cols, scratch);
  auto* const out = reinterpret_cast<float*>(a.out.raw());
  const int64_t step = a.out.stride(0);
  const float* const bias = a.bias.defined() ? a.bias.data<float>() : nullptr;
  alignas(64) float gates[kRowBlock * kPanelRows];
  for (int64_t row = all.begin; row < all.end; row += kRowBlock) {
    const int64_t rows = std::min<int64_t>(kRowBlock, all.end - row);
    const Factor* const from = reinterpret_cast<const Factor*>(x.raw()) + row * cols;
    for (int64_t p = 0; p < run.end - run.begin;) {
      const int64_t column = (run.first + p) * kPanelRows / (kFinish == Finish::swiglu ? 2 : 1);
      p += multiply_panels<kFinish>(
          rows, from, factors + p * cols * kPanelRows, run.end - run.begin - p, cols,
          {out + row * step + column, step, bias == nullptr ? nullptr : bias + column, nullptr},
          gates);
    }
  }
}

void multiply_many(const ExecutionContext& ctx, const PackedLinearArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const Tensor x = factor_rows(ctx, a);
  // Every block of rows decodes the panels again (4% of its time with 256 rows, Zen 4): rows are
  // cut only where panels are too few for the threads.
  constexpr int64_t kBlockRows = 8 * kRowBlock;
  const int64_t n = x.dim(0);
  const int64_t runs = count_runs(ctx, *a.matrix, kPanelsPerTask);
  const int64_t wanted = std::min((4 * ctx.pool->threads() - 1) / runs + 1, n / kBlockRows);
  const int64_t block_rows = (n / std::max<int64_t>(1, wanted) + kRowBlock) / kRowBlock * kRowBlock;
  const int64_t blocks = (n + block_rows - 1) / block_rows;
  for_runs(ctx, *a.matrix, kPanelsPerTask, blocks, kPanelsPerTask * decoded_bytes(a.matrix->cols),
           [&](const Run& run, int64_t block, std::byte* scratch) {
             const RowSpan rows{block * block_rows, std::min((block + 1) * block_rows, n)};
             if (a.end == PackedEnd::swiglu) {
               multiply_run<Finish::swiglu>(a, x, run, rows, scratch);
             } else if (a.end == PackedEnd::gelu) {
               multiply_run<Finish::gelu>(a, x, run, rows, scratch);
             } else if (a.write == Write::accumulate) {
               multiply_run<Finish::accumulate>(a, x, run, rows, scratch);
             } else {
               multiply_run<Finish::overwrite>(a, x, run, rows, scratch);
             }
           });
}

}  // namespace

void packed_linear(const ExecutionContext& ctx, const PackedLinearArgs& a) {
  if (a.x.dim(0) == 0) {
    return;
  }
  a.x.dim(0) <= kFewRows ? multiply_few(ctx, a) : multiply_many(ctx, a);
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
