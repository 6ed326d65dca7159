#include "src/ops/cuda/elements.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

// Angles in double: a table row costs dim/2 sincos, and serves every head and layer of a pass.
__global__ void fill_rope_table(const int32_t* positions, const float* inv_freq, float scale,
                                int64_t half, int64_t count, float* out) {
  const int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (work >= count * half) {
    return;
  }
  const int64_t n = work / half;
  const int64_t i = work % half;
  double sine, cosine;
  sincos(static_cast<double>(positions[n]) * static_cast<double>(inv_freq[i]), &sine, &cosine);
  out[n * 2 * half + i] = static_cast<float>(cosine * scale);
  out[n * 2 * half + half + i] = static_cast<float>(sine * scale);
}

// A thread rotates up to eight neighbouring pairs (i, i + half) of one head; x may be out.
template <class A>
struct Rotate {
  RowsOf<A> x;  // rows are heads
  RowsOf<A> out;
  const float* table;
  int64_t heads;
  float sign;  // −1 turns back
  bool accumulate;
  bool grouped;  // half is whole groups of eight, and both tensors are aligned

  __device__ void pairs(int64_t r, int64_t to, int64_t i, int64_t half) const {
    const float* angles = table + r / heads * 2 * half;
    const A from_row = x.row(r);
    const A to_row = out.row(to);
    if (grouped) {
      float a[8], b[8], cosine[8], sine[8];
      from_row.get8(i, a);
      from_row.get8(i + half, b);
      load8(angles + i, cosine);
      load8(angles + half + i, sine);
      rotate(a, b, cosine, sine);
      if (accumulate) {
        add(to_row, i, a);
        add(to_row, i + half, b);
      }
      to_row.set8(i, a);
      to_row.set8(i + half, b);
      return;
    }
    for (int64_t j = i; j < min(i + 8, half); ++j) {
      const float a = from_row.get(j);
      const float b = from_row.get(j + half);
      const float c = angles[j];
      const float s = angles[half + j] * sign;
      to_row.set(j, a * c - b * s + (accumulate ? to_row.get(j) : 0.0f));
      to_row.set(j + half, b * c + a * s + (accumulate ? to_row.get(j + half) : 0.0f));
    }
  }

 private:
  __device__ void rotate(float (&a)[8], float (&b)[8], const float (&cosine)[8],
                         const float (&sine)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float s = sine[j] * sign;
      const float low = a[j] * cosine[j] - b[j] * s;
      b[j] = b[j] * cosine[j] + a[j] * s;
      a[j] = low;
    }
  }
  __device__ static void add(const A& row, int64_t i, float (&v)[8]) {
    float before[8];
    row.get8(i, before);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      v[j] += before[j];
    }
  }
};

template <class A>
__global__ void rotate_heads(Rotate<A> rotate, int64_t half, int64_t groups) {
  wait_for_predecessor();
  let_successor_start();
  const int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t r = work / groups;
  if (r < rotate.x.count) {
    rotate.pairs(r, r, work % groups * 8, half);
  }
}

bool grouped(std::initializer_list<const Tensor*> tensors, const Tensor& table) {
  bool all = table.dim(-1) / 2 % 8 == 0 && reinterpret_cast<uintptr_t>(table.raw()) % 16 == 0;
  for (const Tensor* t : tensors) {
    all = all && rows_of<Any>(*t).aligned;
  }
  return all;
}

struct Angles {
  float cosine[8];
  float sine[8];
  __device__ Angles(const float* row, int64_t first, int64_t half) {
    load8(row + first, cosine);
    load8(row + half + first, sine);
  }
  __device__ void turn(float (&a)[8], float (&b)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float low = a[j] * cosine[j] - b[j] * sine[j];
      b[j] = b[j] * cosine[j] + a[j] * sine[j];
      a[j] = low;
    }
  }
};

template <class A>
struct KvWrite {
  RowsOf<A> k, v, q;  // q may have no rows
  const float* table;
  const int32_t* slots;
  int64_t kv_heads;
  int64_t heads;
  A k_pages, v_pages;
  bool in_groups;
};

// Rotates keys into their slots and copies values beside them, and rotates queries where they are:
// a thread for eight pairs, or for what is left of them. Queries come behind keys.
template <class A>
__global__ void write_kv(const __grid_constant__ KvWrite<A> p) {
  wait_for_predecessor();
  let_successor_start();
  const int64_t half = p.k.dim / 2;
  const int64_t groups = (half + 7) / 8;
  const int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t r = work / groups;
  const int64_t first = work % groups * 8;
  if (r >= p.k.count) {
    const int64_t row = r - p.k.count;
    if (row >= p.q.count) {
      return;
    }
    const A query = p.q.row(row);
    const float* angles = p.table + row / p.heads * p.k.dim;
    if (p.in_groups) {
      float a[8], b[8];
      query.get8(first, a);
      query.get8(first + half, b);
      Angles(angles, first, half).turn(a, b);
      query.set8(first, a);
      query.set8(first + half, b);
      return;
    }
    for (int64_t i = first; i < min(first + 8, half); ++i) {
      const float a = query.get(i);
      const float b = query.get(i + half);
      query.set(i, a * angles[i] - b * angles[half + i]);
      query.set(i + half, b * angles[i] + a * angles[half + i]);
    }
    return;
  }
  const int64_t n = r / p.kv_heads;
  const int64_t to = (static_cast<int64_t>(p.slots[n]) * p.kv_heads + r % p.kv_heads) * p.k.dim;
  const float* angles = p.table + n * p.k.dim;
  const A key = p.k.row(r);
  const A value = p.v.row(r);
  if (p.in_groups) {
    float a[8], b[8], c[8], d[8];
    key.get8(first, a);
    key.get8(first + half, b);
    value.get8(first, c);
    value.get8(first + half, d);
    Angles(angles, first, half).turn(a, b);
    p.k_pages.set8(to + first, a);
    p.k_pages.set8(to + first + half, b);
    p.v_pages.set8(to + first, c);
    p.v_pages.set8(to + first + half, d);
    return;
  }
  for (int64_t i = first; i < min(first + 8, half); ++i) {
    const float a = key.get(i);
    const float b = key.get(i + half);
    p.k_pages.set(to + i, a * angles[i] - b * angles[half + i]);
    p.k_pages.set(to + i + half, b * angles[i] + a * angles[half + i]);
    p.v_pages.set(to + i, value.get(i));
    p.v_pages.set(to + i + half, value.get(i + half));
  }
}

}  // namespace

void rope_table(const ExecutionContext& ctx, const RopeTableArgs& a) {
  const int64_t half = a.inv_freq.dim(0);
  launch(ctx, "rope_table", threads_for(a.positions.dim(0) * half), fill_rope_table,
         a.positions.data<int32_t>(), a.inv_freq.data<float>(), a.scale, half, a.positions.dim(0),
         a.out.data<float>());
}

void rope(const ExecutionContext& ctx, const RopeArgs& a) {
  const int64_t half = a.x.dim(-1) / 2;
  const int64_t groups = div_up(half, 8);
  with_elements({&a.x, &a.out}, [&](auto accessor) {
    using A = decltype(accessor);
    const Rotate<A> rotate{.x = rows_of<A>(a.x),
                           .out = rows_of<A>(a.out),
                           .table = a.table.data<float>(),
                           .heads = a.x.dim(1),
                           .sign = a.rotation == Rotation::forward ? 1.0f : -1.0f,
                           .accumulate = a.write == Write::accumulate,
                           .grouped = grouped({&a.x, &a.out}, a.table)};
    Launch shape = threads_for(rotate.x.count * groups);
    shape.overlaps = true;
    launch(ctx, "rope", shape, rotate_heads<A>, rotate, half, groups);
  });
}

void kv_write(const ExecutionContext& ctx, const KvWriteArgs& a) {
  OB_REQUIRE(a.k_pages.is_contiguous() && a.v_pages.is_contiguous(), Unsupported,
             "kv_write on cuda: pages are contiguous, not {}", to_string(a.k_pages));
  with_elements({&a.k, &a.v, &a.k_pages, &a.v_pages, &a.q}, [&](auto accessor) {
    using A = decltype(accessor);
    const bool queries = a.q.defined();
    const auto pages =
        reinterpret_cast<uintptr_t>(a.k_pages.raw()) | reinterpret_cast<uintptr_t>(a.v_pages.raw());
    KvWrite<A> p{.k = rows_of<A>(a.k),
                 .v = rows_of<A>(a.v),
                 .q = rows_of<A>(queries ? a.q : a.k),
                 .table = a.table.data<float>(),
                 .slots = a.slots.data<int32_t>(),
                 .kv_heads = a.k.dim(1),
                 .heads = queries ? a.q.dim(1) : 1,
                 .k_pages = elements<A>(a.k_pages),
                 .v_pages = elements<A>(a.v_pages),
                 .in_groups = grouped({&a.k, &a.v}, a.table) && pages % 16 == 0};
    if (queries) {
      p.in_groups = p.in_groups && p.q.aligned;
    } else {
      p.q.count = 0;
    }
    Launch shape = threads_for((p.k.count + p.q.count) * div_up(p.k.dim / 2, 8));
    shape.overlaps = true;
    launch(ctx, "kv_write", shape, write_kv<A>, p);
  });
}

}  // namespace offbook::ops::cuda
