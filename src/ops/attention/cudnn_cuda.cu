// Passes that cuDNN takes. It reads sequences that lie together, each at an offset of its own: keys
// that do not (a prefix elsewhere, pages) are copied behind one another first, and gradients of
// keys are added back row by row, through the sequences in order, so that a shared prefix gets its
// sum in a fixed order.
#include <bit>

#include "src/backend/cuda/sdpa.h"
#include "src/ops/attention/kernels_cuda.cuh"

namespace offbook::ops::cuda {
namespace {

using backend::SdpaCall;
using backend::SdpaMask;
using backend::SdpaPass;
using backend::SdpaShape;
using backend::SdpaTensor;

constexpr int kLeastLength =
    16;  // of the longest sequence; below, starting costs more than computing
// A tile past the last key may be read and multiplied by 0, which must not be 0 · NaN.
constexpr int kZeroRows = 128;
constexpr int64_t kMostGatheredBytes = int64_t{8} << 30;
// Of the workspace of a repeatable backward; heads of a lone sequence go in parts that stay below.
// 16 windows of beacon training are up to 32 segments of 3,072 rows with their bounds: 5.1 GiB.
constexpr int64_t kMostRepeatableBytes = int64_t{6} << 30;
constexpr int64_t kLoneStep = 256;  // plans without tables are made for multiples of it

struct RowDistances {
  int64_t of[backend::kSdpaTensors];
};

// Lengths and first elements of every sequence (backend/cuda/sdpa.h), and the row where its keys
// lie behind one another. One block.
template <class Keys>
__global__ void sdpa_tables(Keys keys, int count, int bound, int skip_rows, int group,
                            bool gathered, int tensors, RowDistances distance, int heads,
                            int32_t* tables, int32_t* key_begins) {
  extern __shared__ int32_t key_counts[];
  const auto view_of = [&](int s) {
    SequenceView view = keys.view(s);
    if (view.length * group <= skip_rows) {
      view.length = 0;
    }
    return view;
  };
  for (int s = threadIdx.x; s < count; s += blockDim.x) {
    const SequenceView view = view_of(s);
    key_counts[s] = view.length == 0 ? 0 : view.count;
  }
  __syncthreads();
  for (int s = threadIdx.x; s <= bound; s += blockDim.x) {
    int begin = 0;
    for (int before = 0; before < min(s, count); ++before) {
      begin += key_counts[before];
    }
    key_begins[s] = begin;
    SequenceView view{0, 0, 0, 0};
    if (s < count) {
      view = view_of(s);
    } else if (count > 0) {
      const SequenceView last = keys.view(count - 1);
      view.query_begin = last.query_begin + last.length;
    }
    if (s < bound) {
      tables[s] = view.length;
      tables[bound + s] = view.length == 0 ? 0 : view.count;
    }
    int64_t own = begin;
    if (!gathered) {
      own = s < count ? keys.row(s, 0) : keys.row(count - 1, 0) + keys.view(count - 1).count;
    }
    int32_t* at = tables + 2 * bound + s;
    for (int i = 0; i < tensors; ++i, at += bound + 1) {
      const auto which = static_cast<SdpaTensor>(i);
      int64_t row = view.query_begin;
      if (which == SdpaTensor::k || which == SdpaTensor::v) {
        row = own;
      } else if (which == SdpaTensor::d_k || which == SdpaTensor::d_v) {
        row = begin;
      }
      *at = static_cast<int32_t>(row * distance.of[i]);
    }
    *at = view.query_begin * heads;  // of lse
  }
}

// Copies the keys and values of each sequence behind those of the one before; y = sequences writes
// the rows of zeros behind the last.
template <class Keys>
__global__ void gather_keys(Keys keys, const bf16* k, const bf16* v, const int32_t* key_begins,
                            int count, int skip_rows, int group, int dim, int width, bf16* k_to,
                            bf16* v_to) {
  const int s = blockIdx.y;
  const int pieces = width / 8;
  const int rows_at_once = gridDim.x;
  const int64_t begin = key_begins[s];
  if (s == count) {
    for (int r = blockIdx.x; r < kZeroRows; r += rows_at_once) {
      for (int i = threadIdx.x; i < pieces; i += blockDim.x) {
        *reinterpret_cast<uint4*>(k_to + (begin + r) * width + i * 8) = make_uint4(0, 0, 0, 0);
        *reinterpret_cast<uint4*>(v_to + (begin + r) * width + i * 8) = make_uint4(0, 0, 0, 0);
      }
    }
    return;
  }
  const SequenceView view = keys.view(s);
  if (view.length == 0 || view.length * group <= skip_rows) {
    return;
  }
  for (int p = blockIdx.x; p < view.count; p += rows_at_once) {
    const int64_t row = keys.row(s, p);
    for (int i = threadIdx.x; i < pieces; i += blockDim.x) {
      const int head = i * 8 / dim;
      const int at = i * 8 % dim;
      const int64_t to = (begin + p) * width + i * 8;
      *reinterpret_cast<uint4*>(k_to + to) =
          *reinterpret_cast<const uint4*>(k + row * keys.k.row + head * keys.k.head + at);
      *reinterpret_cast<uint4*>(v_to + to) =
          *reinterpret_cast<const uint4*>(v + row * keys.v.row + head * keys.v.head + at);
    }
  }
}

__device__ void put_piece(const Any& to, int64_t at, const float (&x)[8], bool adds) {
  float sum[8] = {};
  if (adds) {
    to.get8(at, sum);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    sum[j] += x[j];
  }
  to.set8(at, sum);
}

// d_q += from, for the rows that belong to a sequence.
__global__ void add_query_gradients(PackedKeys keys, const bf16* from, Any to, HeadStrides strides,
                                    int dim, int width) {
  const SequenceView view = keys.view(blockIdx.y);
  const int pieces = width / 8;
  const int64_t total = static_cast<int64_t>(view.length) * pieces;
  for (int64_t w = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; w < total;
       w += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int64_t row = view.query_begin + w / pieces;
    const int i = static_cast<int>(w % pieces) * 8;
    float x[8];
    load8(from + row * width + i, x);
    put_piece(to, row * strides.row + i / dim * strides.head + i % dim, x, true);
  }
}

struct KeyGradient {
  const bf16* from;  // behind one another, sequence after sequence
  Any to;
  HeadStrides strides;
  bool overwrites;

  __device__ void put(int64_t row, int64_t place, int i, int dim, int width, bool first) const {
    float x[8];
    load8(from + place * width + i, x);
    put_piece(to, row * strides.row + i / dim * strides.head + i % dim, x, !(first && overwrites));
  }
  __device__ void clear(int64_t row, int i, int dim) const {
    if (overwrites) {
      const float zeros[8] = {};
      to.set8(row * strides.row + i / dim * strides.head + i % dim, zeros);
    }
  }
};

// d_k and d_v of a row (+)= those of every sequence that reads it, in their order. A warp for each
// row.
__global__ void add_key_gradients(PackedKeys keys, int sequences, const int32_t* key_begins,
                                  KeyGradient k, KeyGradient v, int64_t rows, int dim, int width) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) {
    return;
  }
  const int lane = threadIdx.x % 32;
  bool first = true;
  for (int base = 0; base < sequences; base += 32) {
    int64_t prefix_from = -1;
    int64_t own_from = -1;
    if (base + lane < sequences) {
      const AttentionSequence& q = keys.sequence(base + lane);
      const int64_t begin = key_begins == nullptr ? 0 : key_begins[base + lane];
      if (q.length > 0 && row >= q.prefix_begin && row < q.prefix_begin + q.prefix_len) {
        prefix_from = begin + row - q.prefix_begin;
      }
      if (row >= q.own_begin && row < q.own_begin + q.length) {
        own_from = begin + q.prefix_len + row - q.own_begin;
      }
    }
    unsigned readers = __ballot_sync(0xffffffffu, prefix_from >= 0 || own_from >= 0);
    while (readers != 0) {
      const int s = __ffs(static_cast<int>(readers)) - 1;
      readers &= readers - 1;
      const int64_t places[2] = {__shfl_sync(0xffffffffu, prefix_from, s),
                                 __shfl_sync(0xffffffffu, own_from, s)};
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        if (places[part] < 0) {
          continue;
        }
        for (int i = lane * 8; i < width; i += 256) {
          k.put(row, places[part], i, dim, width, first);
          v.put(row, places[part], i, dim, width, first);
        }
        first = false;
      }
    }
  }
  for (int i = lane * 8; first && i < width; i += 256) {
    k.clear(row, i, dim);
    v.clear(row, i, dim);
  }
}

// to[c, r] = from[r, c].
__global__ void transpose_floats(const float* from, float* to, int64_t rows, int64_t columns) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < rows * columns) {
    to[i] = from[i % rows * columns + i / rows];
  }
}

SdpaShape::Strides strides_of(const Tensor& t) {
  return {t.stride(0), t.stride(1)};
}

// A pass as cuDNN gets it: its shape, the tables on the device and, where they do not lie together,
// keys in order.
struct Prepared {
  SdpaShape shape;
  Tensor tables;
  Tensor key_begins;  // undefined for a lone sequence without tables: it begins at 0
  Tensor workspace;
  Tensor k;
  Tensor v;
};

struct Pass {
  SdpaPass pass;
  SdpaMask mask;
  Tensor q, k, v, out;
  int64_t sequences;
  int64_t max_length;
  int64_t max_keys;
  int64_t key_rows;  // at most, behind one another
  bool keys_apart;   // they have to be copied together
  bool lone;         // one sequence from row 0 on, with all rows of q, k and v
  bool has_lse;
  int skip_rows;
  float scale;
};

void set_strides(SdpaShape& shape, SdpaTensor which, SdpaShape::Strides strides) {
  shape.strides[static_cast<size_t>(which)] = strides;
}

int tensors_of(SdpaPass pass) {
  return pass == SdpaPass::forward ? backend::kSdpaForwardTensors : backend::kSdpaTensors;
}

SdpaShape shape_of(const backend::KernelChoice& choice, const Pass& p) {
  SdpaShape out{.pass = p.pass,
                .mask = p.mask,
                .packed = !(p.lone && choice.dense),
                .has_lse = p.has_lse,
                .repeatable = choice.repeatable,
                .heads = static_cast<int32_t>(p.q.dim(1)),
                .kv_heads = static_cast<int32_t>(p.k.dim(-2)),
                .dim = static_cast<int32_t>(p.q.dim(2)),
                .scale = p.scale};
  if (out.packed) {
    const auto power = [](int64_t n) {
      return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(n, 64))));
    };
    out.sequences = backend::sdpa_bound(p.sequences, 1);
    out.max_queries = backend::sdpa_bound(p.max_length);
    out.max_keys = backend::sdpa_bound(p.max_keys);
    if (p.pass == SdpaPass::backward) {
      out.query_rows = power(p.q.dim(0));
      out.key_rows = power(p.key_rows);
    }
  } else {
    out.max_queries = p.max_length;
    out.max_keys = p.max_keys;
  }
  const int64_t width = int64_t{out.kv_heads} * out.dim;
  const SdpaShape::Strides together{width, out.dim};
  set_strides(out, SdpaTensor::q, strides_of(p.q));
  set_strides(out, SdpaTensor::out, strides_of(p.out));
  set_strides(out, SdpaTensor::k, p.keys_apart ? together : strides_of(p.k));
  set_strides(out, SdpaTensor::v, p.keys_apart ? together : strides_of(p.v));
  if (p.pass == SdpaPass::backward) {
    const SdpaShape::Strides queries{int64_t{out.heads} * out.dim, out.dim};
    set_strides(out, SdpaTensor::d_q, queries);
    set_strides(out, SdpaTensor::d_k, together);
    set_strides(out, SdpaTensor::d_v, together);
  }
  return out;
}

// Offsets are counted in 32 bits.
bool offsets_fit(const SdpaShape& shape, const Pass& p) {
  const int64_t rows = std::max({p.q.dim(0), p.k.dim(0), p.key_rows + kZeroRows});
  return !shape.packed || std::ranges::all_of(shape.strides, [&](const SdpaShape::Strides& s) {
    return rows * s.row < (int64_t{1} << 31);
  });
}

// False when cuDNN does not take the pass. Tensors are made in the context's arena.
template <class Keys>
bool prepare(const ExecutionContext& ctx, const Pass& p, const SdpaShape& shape, const Keys& keys,
             Prepared& out) {
  const int64_t width = p.k.dim(-2) * shape.dim;
  const int64_t gathered_bytes = (p.key_rows + kZeroRows) * width * 4;
  if (!offsets_fit(shape, p) || (p.keys_apart && gathered_bytes > kMostGatheredBytes)) {
    return false;
  }
  const int64_t workspace_bytes = ctx.cuda->sdpa().workspace_bytes(shape);
  if (workspace_bytes < 0 || (p.pass == SdpaPass::backward && shape.repeatable &&
                              workspace_bytes > kMostRepeatableBytes)) {
    return false;
  }
  out = {.shape = shape, .k = p.k, .v = p.v};
  out.workspace = ctx.make(Dtype::u8, {std::max<int64_t>(workspace_bytes, 1)});
  if (!shape.packed && !p.keys_apart) {
    return true;
  }
  const auto count = static_cast<int>(p.sequences);
  const int group = shape.heads / shape.kv_heads;
  out.tables = ctx.make(Dtype::i32, {backend::sdpa_table_entries(shape)});
  out.key_begins = ctx.make(Dtype::i32, {shape.sequences + 1});
  RowDistances distance{};
  for (size_t i = 0; i < shape.strides.size(); ++i) {
    distance.of[i] = shape.strides[i].row;
  }
  launch(ctx, "sdpa_tables", {dim3(1), dim3(256), sizeof(int32_t) * static_cast<size_t>(count)},
         sdpa_tables<Keys>, keys, count, static_cast<int>(shape.sequences), p.skip_rows, group,
         p.keys_apart, tensors_of(shape.pass), distance, static_cast<int>(p.q.dim(1)),
         out.tables.template data<int32_t>(), out.key_begins.template data<int32_t>());
  if (p.keys_apart) {
    out.k = ctx.make(Dtype::bf16, {p.key_rows + kZeroRows, p.k.dim(-2), shape.dim});
    out.v = ctx.make(Dtype::bf16, {p.key_rows + kZeroRows, p.k.dim(-2), shape.dim});
    const auto rows_at_once = static_cast<unsigned>(std::clamp<int64_t>(
        p.max_keys, 1, std::max(16, 16 * ctx.cuda->device.multiprocessors / (count + 1))));
    launch(ctx, "gather_keys",
           {dim3(rows_at_once, static_cast<unsigned>(count) + 1),
            dim3(static_cast<unsigned>(std::clamp<int64_t>(width / 8, 32, 512)))},
           gather_keys<Keys>, keys, p.k.template data<bf16>(), p.v.template data<bf16>(),
           out.key_begins.template data<int32_t>(), count, p.skip_rows, group, shape.dim,
           static_cast<int>(width), out.k.template data<bf16>(), out.v.template data<bf16>());
  }
  return true;
}

void set(SdpaCall& call, SdpaTensor which, const Tensor& t) {
  call.tensors[static_cast<size_t>(which)] = t.raw();
}

SdpaCall call_of(const Prepared& p, const Tensor& q, const Tensor& out) {
  SdpaCall call{.tables = p.tables.defined() ? p.tables.data<int32_t>() : nullptr,
                .workspace = p.workspace.raw()};
  set(call, SdpaTensor::q, q);
  set(call, SdpaTensor::k, p.k);
  set(call, SdpaTensor::v, p.v);
  set(call, SdpaTensor::out, out);
  return call;
}

void run(const ExecutionContext& ctx, const Prepared& p, const SdpaCall& call) {
  ctx.cuda->sdpa().run(p.shape, call);
  ctx.cuda->launched(p.shape.pass == SdpaPass::forward ? "cudnn_sdpa" : "cudnn_sdpa_backward");
}

bool wanted(const ExecutionContext& ctx, const AttentionArgs& a) {
  return ctx.cuda->choice.cudnn && ctx.cuda->device.major >= 9 && a.max_length >= kLeastLength &&
         (a.window == 0 || a.window >= a.max_length + a.max_prefix) && a.sequences.dim(0) > 0 &&
         flash_fits(ctx, a.q, a.k, a.v, a.out);
}

Pass pass_of(const AttentionArgs& a, SdpaPass pass) {
  const bool prefix = a.max_prefix > 0;
  const int64_t sequences = a.sequences.dim(0);
  const int64_t n = a.q.dim(0);
  SdpaMask mask = SdpaMask::full;
  if (a.mask == Mask::causal) {
    mask = prefix ? SdpaMask::causal_from_end : SdpaMask::causal;
  }
  return {.pass = pass,
          .mask = mask,
          .q = a.q,
          .k = a.k,
          .v = a.v,
          .out = a.out,
          .sequences = sequences,
          .max_length = a.max_length,
          .max_keys = int64_t{a.max_length} + a.max_prefix,
          .key_rows = n + sequences * a.max_prefix,
          .keys_apart = prefix,
          .lone = sequences == 1 && n == a.max_length && n % kLoneStep == 0 &&
                  (prefix ? a.max_prefix % kLoneStep == 0 : a.k.dim(0) == n),
          .has_lse = a.lse.defined(),
          .skip_rows = 0,
          .scale = a.scale};
}

Tensor transposed(const ExecutionContext& ctx, const Tensor& lse, int64_t rows, int64_t columns,
                  const Tensor& to) {
  launch(ctx, "transpose_floats", threads_for(rows * columns), transpose_floats, lse.data<float>(),
         to.data<float>(), rows, columns);
  return to;
}

void clear(const ExecutionContext& ctx, const Tensor& t, Write write) {
  if (write == Write::overwrite) {
    fill(ctx, {.value = 0, .out = t});
  }
}

}  // namespace

bool attention_cudnn(const ExecutionContext& ctx, const AttentionArgs& a) {
  if (!wanted(ctx, a)) {
    return false;
  }
  backend::ArenaScope scope(*ctx.arena);
  const Pass pass = pass_of(a, SdpaPass::forward);
  Prepared p;
  if (!prepare(ctx, pass, shape_of(ctx.cuda->choice, pass), packed_keys(a), p)) {
    return false;
  }
  SdpaCall call = call_of(p, a.q, a.out);
  const int64_t n = a.q.dim(0);
  const int64_t heads = a.q.dim(1);
  Tensor lse;
  if (a.lse.defined()) {
    lse = p.shape.packed ? a.lse : ctx.make(Dtype::f32, {heads, n});
    call.lse = lse.data<float>();
  }
  run(ctx, p, call);
  if (lse.defined() && !p.shape.packed) {
    transposed(ctx, lse, heads, n, a.lse);
  }
  return true;
}

bool attention_backward_cudnn(const ExecutionContext& ctx, const AttentionBackwardArgs& b) {
  const AttentionArgs& a = b.forward;
  if (!wanted(ctx, a) || b.d_out.dtype() != Dtype::bf16 || !heads_aligned(b.d_out) ||
      !heads_aligned(b.d_q) || !heads_aligned(b.d_k) || !heads_aligned(b.d_v)) {
    return false;
  }
  backend::ArenaScope scope(*ctx.arena);
  const Pass pass = pass_of(a, SdpaPass::backward);
  SdpaShape shape = shape_of(ctx.cuda->choice, pass);
  set_strides(shape, SdpaTensor::d_out, strides_of(b.d_out));
  // cuDNN writes bf16 and does not add; keys of a packed pass may be read by several sequences.
  const auto direct = [](const Tensor& t, Write write) {
    return write == Write::overwrite && t.dtype() == Dtype::bf16;
  };
  const bool q_direct = direct(b.d_q, b.write_q);
  const bool keys_direct =
      !shape.packed && !pass.keys_apart && direct(b.d_k, b.write_k) && direct(b.d_v, b.write_v);
  if (q_direct) {
    set_strides(shape, SdpaTensor::d_q, strides_of(b.d_q));
  }
  if (keys_direct) {
    set_strides(shape, SdpaTensor::d_k, strides_of(b.d_k));
    set_strides(shape, SdpaTensor::d_v, strides_of(b.d_v));
  }
  int64_t parts = 1;
  const auto squares = [&] { return shape.heads * shape.max_queries * shape.max_keys * 2; };
  while (!shape.packed && shape.repeatable && shape.kv_heads % 2 == 0 &&
         squares() > kMostRepeatableBytes / 10 * 9) {
    shape.heads /= 2;
    shape.kv_heads /= 2;
    parts *= 2;
  }
  Prepared p;
  if (!prepare(ctx, pass, shape, packed_keys(a), p)) {
    return false;
  }
  if (!q_direct || shape.packed) {
    clear(ctx, b.d_q, b.write_q);  // rows of no sequence too
  }
  const int64_t n = a.q.dim(0);
  const int64_t heads = a.q.dim(1);
  const Tensor d_q = q_direct ? b.d_q : ctx.make(Dtype::bf16, a.q.shape());
  const Shape keys{pass.key_rows, a.k.dim(1), a.k.dim(2)};
  const Tensor d_k = keys_direct ? b.d_k : ctx.make(Dtype::bf16, keys);
  const Tensor d_v = keys_direct ? b.d_v : ctx.make(Dtype::bf16, keys);
  SdpaCall call = call_of(p, a.q, a.out);
  set(call, SdpaTensor::d_out, b.d_out);
  set(call, SdpaTensor::d_q, d_q);
  set(call, SdpaTensor::d_k, d_k);
  set(call, SdpaTensor::d_v, d_v);
  call.lse =
      (p.shape.packed ? a.lse : transposed(ctx, a.lse, n, heads, ctx.make(Dtype::f32, {heads, n})))
          .data<float>();
  for (int64_t part = 0; part < parts; ++part) {
    run(ctx, p, call);
    for (size_t i = 0; i < call.tensors.size(); ++i) {
      const auto which = static_cast<SdpaTensor>(i);
      const bool keyed = which == SdpaTensor::k || which == SdpaTensor::v ||
                         which == SdpaTensor::d_k || which == SdpaTensor::d_v;
      call.tensors[i] = static_cast<bf16*>(call.tensors[i]) +
                        (keyed ? shape.kv_heads : shape.heads) * shape.strides[i].head;
    }
    call.lse += shape.heads * n;  // [heads, n]; a packed pass has one part
  }
  const auto dim = static_cast<int>(a.q.dim(2));
  const auto sequences = static_cast<int>(a.sequences.dim(0));
  if (!q_direct) {
    const int64_t pieces = int64_t{a.max_length} * heads * dim / 8;
    launch(ctx, "add_query_gradients",
           {dim3(static_cast<unsigned>(std::min<int64_t>(div_up(pieces, 256), 4096)),
                 static_cast<unsigned>(sequences)),
            dim3(256)},
           add_query_gradients, packed_keys(a), d_q.data<bf16>(), elements<Any>(b.d_q),
           head_strides(b.d_q), dim, static_cast<int>(heads * dim));
  }
  if (!keys_direct) {
    const auto gradient = [](const Tensor& from, const Tensor& to, Write write) {
      return KeyGradient{from.data<bf16>(), elements<Any>(to), head_strides(to),
                         write == Write::overwrite};
    };
    launch(ctx, "add_key_gradients", {dim3(blocks_x(div_up(a.k.dim(0), 8))), dim3(256)},
           add_key_gradients, packed_keys(a), sequences,
           p.key_begins.defined() ? p.key_begins.data<int32_t>() : nullptr,
           gradient(d_k, b.d_k, b.write_k), gradient(d_v, b.d_v, b.write_v), a.k.dim(0), dim,
           static_cast<int>(a.k.dim(1) * dim));
  }
  return true;
}

bool paged_attention_cudnn(const ExecutionContext& ctx, const PagedAttentionArgs& a,
                           int skip_rows) {
  constexpr int kLeastPagedLength =
      256;  // below, copying the keys together costs more than it gains
  if (!ctx.cuda->choice.cudnn || ctx.cuda->device.major < 9 || a.max_length < kLeastPagedLength ||
      (a.window != 0 && a.window < a.max_kv_length)) {
    return false;
  }
  backend::ArenaScope scope(*ctx.arena);
  const int64_t sequences = a.sequences.dim(0);
  const Shape rows{a.k_pages.dim(0) * a.k_pages.dim(1), a.k_pages.dim(2), a.k_pages.dim(3)};
  const bool is_first = sequences == 1 && a.max_kv_length == a.max_length;
  const bool lone = sequences == 1 && a.q.dim(0) == a.max_length && a.max_length % kLoneStep == 0 &&
                    a.max_kv_length % kLoneStep == 0;
  // Only whole tiles: what lies behind the last key is another's, or nobody's.
  const bool in_place = lone && ctx.cuda->choice.dense && a.first_page >= 0;
  const auto keys_of = [&](const Tensor& pages) {
    const Tensor all = pages.reshape(rows);
    const int64_t first = int64_t{a.first_page} * kPageTokens;
    return in_place ? all.slice(0, first, first + a.max_kv_length) : all;
  };
  const Pass pass{.pass = SdpaPass::forward,
                  .mask = is_first ? SdpaMask::causal : SdpaMask::causal_from_end,
                  .q = a.q,
                  .k = keys_of(a.k_pages),
                  .v = keys_of(a.v_pages),
                  .out = a.out,
                  .sequences = sequences,
                  .max_length = a.max_length,
                  .max_keys = a.max_kv_length,
                  .key_rows = sequences * a.max_kv_length,
                  .keys_apart = !in_place,
                  .lone = lone,
                  .has_lse = false,
                  .skip_rows = skip_rows,
                  .scale = a.scale};
  Prepared p;
  if (!prepare(ctx, pass, shape_of(ctx.cuda->choice, pass), paged_keys(a), p)) {
    return false;
  }
  run(ctx, p, call_of(p, a.q, a.out));
  return true;
}

}  // namespace offbook::ops::cuda
