// SmolLM2-135M's shape in one cooperative kernel: a block a multiprocessor, five barriers of the
// whole grid a layer instead of six kernels. While a layer runs, every block has its rows of the
// next layer's matrices and its stretch of the next layer's cache under way to shared memory, so
// that only activations cross a barrier.
//
// A layer's phases, each block with rows of its own:
//   norm, queries, keys and values, RoPE, the new token into the cache | attention over a stretch
//   | joining the stretches of one group of heads, its columns of o | norm, gate, up, SwiGLU | down
// The residual stream stands in every block's shared memory, in f32; all add to it in one order.
#include "src/ops/cuda/launch.cuh"
#include "src/ops/decode_layers/step_attention_cuda.cuh"
#include "src/ops/decode_layers/unfused.h"
#include "src/ops/norm_linear/norm_linear_cuda.cuh"

namespace offbook::ops::cuda {
namespace whole_step {
namespace {

// Adds kTerms vectors to the residual stream; its rms_norm is the vector of the next product.
template <int kTerms>
__device__ void add_and_norm(const Block& b, const float* terms, const float* weight) {
  constexpr int kAdders = kHidden / 4;
  constexpr int kAdderWarps = (kAdders + 31) / 32;
  float4 x = make_float4(0, 0, 0, 0);
  if (threadIdx.x < kAdders) {
    float4 term[kTerms + 1];
#pragma unroll
    for (int i = 0; i < kTerms; ++i) {
      term[i] = __ldcg(reinterpret_cast<const float4*>(terms + i * kHidden) + threadIdx.x);
    }
    x = reinterpret_cast<const float4*>(b.x)[threadIdx.x];
#pragma unroll
    for (int i = 0; i < kTerms; ++i) {
      x.x += term[i].x, x.y += term[i].y, x.z += term[i].z, x.w += term[i].w;
    }
    reinterpret_cast<float4*>(b.x)[threadIdx.x] = x;
  }
  if (threadIdx.x < kAdderWarps * 32) {
    float sum = fmaf(x.x, x.x, fmaf(x.y, x.y, fmaf(x.z, x.z, x.w * x.w)));
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    if (threadIdx.x % 32 == 0) {
      b.parts[threadIdx.x / 32] = sum;
    }
  }
  __syncthreads();
  if (threadIdx.x < kAdders) {
    const float scale = rsqrtf(row_sum<kAdderWarps>(b.parts, 0) / kHidden + b.p.eps);
    const float4 w = reinterpret_cast<const float4*>(weight)[threadIdx.x];
    reinterpret_cast<uint2*>(b.vector)[threadIdx.x] = make_uint2(
        pack(x.x * scale * w.x, x.y * scale * w.y), pack(x.z * scale * w.z, x.w * scale * w.w));
  }
  __syncthreads();
}

__device__ float rounded(float x) {
  return __bfloat162float(__float2bfloat16_rn(x));
}

// Queries to p.q; the new token's keys and values to its slot.
__device__ void project(const Block& b, int layer) {
  if (b.first_pair >= kQkv / 2) {
    return;
  }
  constexpr int kParts = 8;
  multiply_rows<2 * kPairs, kParts, kRowBytes / 16>(b.weights(layer), b.vector, b.parts);
  if (threadIdx.x >= 2 * kPairs) {
    return;
  }
  const int pair = static_cast<int>(threadIdx.x) % kPairs;
  const bool is_high = threadIdx.x >= kPairs;
  const int head = b.first_pair / (kDim / 2);
  const int i = b.first_pair % (kDim / 2) + pair;
  const float low = rounded(row_sum<kParts>(b.parts, pair));
  const float high = rounded(row_sum<kParts>(b.parts, pair + kPairs));
  float out = is_high ? high : low;
  if (head < kHeads + kKeyHeads) {
    const float c = b.table[i];
    const float s = b.table[kDim / 2 + i];
    out = is_high ? high * c + low * s : low * c - high * s;
  }
  const int column = i + (is_high ? kDim / 2 : 0);
  if (head < kHeads) {
    __stcg(b.p.q + head * kDim + column, rounded(out));
    return;
  }
  const LayerPointers& w = b.p.layers[layer];
  bf16* pages = head < kHeads + kKeyHeads ? w.k : w.v;
  pages[b.place(b.slot, (head - kHeads) % kKeyHeads) + column] = __float2bfloat16_rn(out);
}

__device__ void gate(const Block& b, int layer) {
  const int first = static_cast<int>(blockIdx.x) * kRowsOfGate;
  if (first >= kFfn) {
    return;
  }
  constexpr int kParts = 2;
  multiply_rows<2 * kRowsOfGate, kParts, kRowBytes / 16>(b.weights(layer) + kQkvBytes + kOBytes,
                                                         b.vector, b.parts);
  if (threadIdx.x < kRowsOfGate) {
    const float g = row_sum<kParts>(b.parts, threadIdx.x);
    const float up = row_sum<kParts>(b.parts, kRowsOfGate + threadIdx.x);
    b.p.inner[first + threadIdx.x] =
        __float2bfloat16_rn(g * __fdividef(1.0f, 1.0f + __expf(-g)) * up);
  }
}

__device__ void project_down(const Block& b, int layer) {
  const int first = static_cast<int>(blockIdx.x) * kRowsOfDown;
  if (first >= kHidden) {
    return;
  }
  constexpr int kUnits = kFfn * 2 / 16;
  if (threadIdx.x < kUnits) {
    reinterpret_cast<uint4*>(b.vector)[threadIdx.x] =
        __ldcg(reinterpret_cast<const uint4*>(b.p.inner) + threadIdx.x);
  }
  __syncthreads();
  constexpr int kParts = 12;
  multiply_rows<kRowsOfDown, kParts, kUnits>(b.weights(layer) + kQkvBytes + kOBytes + kGateBytes,
                                             b.vector, b.parts);
  const int row = first + static_cast<int>(threadIdx.x);
  if (threadIdx.x < kRowsOfDown && row < kHidden) {
    __stcg(b.p.down + row, row_sum<kParts>(b.parts, threadIdx.x));
  }
}

__global__ void __launch_bounds__(kThreads, 1) decode_all_layers(const __grid_constant__ Step p) {
  extern __shared__ __align__(128) uint8_t shared[];
  const Block b(p, shared);
  GridBarrier grid(p.counters);
  for (int layer = 0; layer < min(p.count, 2); ++layer) {
    ask_for_qkv(b, layer);
    ask_for_stretch(b, layer);
    ask_for_o(b, layer);
    ask_for_gate(b, layer);
    ask_for_down(b, layer);
  }
  for (int i = threadIdx.x; i < kHidden; i += kThreads) {
    b.x[i] = __bfloat162float(p.x[i]);
  }
  wait_for_copies<0>();
  __syncthreads();
  for (int layer = 0; layer < p.count; ++layer) {
    const bool goes_on = layer + 2 < p.count;  // its pieces come to where this layer's stood
    const float* const norms = b.norms(layer);
    if (layer == 0) {
      add_and_norm<0>(b, nullptr, norms);
    } else {
      add_and_norm<1>(b, p.down, norms);
    }
    project(b, layer);
    grid.arrive();
    if (goes_on) {
      ask_for_qkv(b, layer + 2);
    }
    grid.wait();
    attend(b, layer);
    grid.arrive();
    if (goes_on) {
      ask_for_stretch(b, layer + 2);
    }
    grid.wait();
    join_and_project(b, layer);
    grid.arrive();
    if (goes_on) {
      ask_for_o(b, layer + 2);
    }
    grid.wait();
    static_assert(kKeyHeads == 3);
    add_and_norm<3>(b, p.o, norms + kHidden);
    gate(b, layer);
    grid.arrive();
    if (goes_on) {
      ask_for_gate(b, layer + 2);
    }
    grid.wait();
    project_down(b, layer);
    grid.arrive();
    if (goes_on) {
      ask_for_down(b, layer + 2);
      wait_for_copies<kGroupsOfLayer>();  // those of the next layer are older
    } else {
      wait_for_copies<0>();
    }
    grid.wait();
  }
  for (int i = threadIdx.x; blockIdx.x == 0 && i < kHidden; i += kThreads) {
    p.x[i] = __float2bfloat16_rn(b.x[i] + __ldcg(p.down + i));
  }
  grid.leave();
}

}  // namespace
}  // namespace whole_step

namespace {

OB_DECODE_LAYERS_OPS(cuda);

// With RoPE and the pages behind the product where one kernel takes them: 2 to 3 µs a layer.
struct JoinedOps : Ops {
  static void project(const ExecutionContext& ctx, const DecodeLayersArgs& a, const DecodeLayer& w,
                      const Tensor& queries) {
    if (!project_kv(ctx, {.rows = {a.x, w.attn_norm, a.eps},
                          .weight = w.qkv,
                          .table = a.table,
                          .slots = a.slots,
                          .k_pages = w.k_pages,
                          .v_pages = w.v_pages,
                          .q = queries})) {
      Ops::project(ctx, a, w, queries);
    }
  }
};

bool is_aligned(const Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.raw()) % 16 == 0;
}
bool is_plain(const Tensor& t) {
  return t.dtype() == Dtype::bf16 && t.is_contiguous() && is_aligned(t);
}

bool fits(const ExecutionContext& ctx, const DecodeLayersArgs& a) {
  using namespace whole_step;
  const DecodeLayer& w = a.layers.front();
  return ctx.cuda->device.major >= 9 && ctx.cuda->device.multiprocessors >= kBlocks &&
         ctx.compute == Compute::bf16 && a.x.dtype() == Dtype::bf16 && a.x.dim(1) == kHidden &&
         w.qkv.dim(0) == kQkv && w.gate.dim(0) == kFfn && w.k_pages.dim(2) == kKeyHeads &&
         w.k_pages.dim(3) == kDim &&
         std::all_of(a.layers.begin(), a.layers.end(), [](const DecodeLayer& l) {
           return is_aligned(l.attn_norm) && is_aligned(l.ffn_norm) && is_plain(l.qkv) &&
                  is_plain(l.o) && is_plain(l.gate) && is_plain(l.up) && is_plain(l.down) &&
                  is_plain(l.k_pages) && is_plain(l.v_pages);
         });
}

const uint8_t* bytes_of(const Tensor& t) {
  return reinterpret_cast<const uint8_t*>(t.raw());
}

}  // namespace

void decode_layers(const ExecutionContext& ctx, const DecodeLayersArgs& a) {
  const backend::KernelChoice& choice = ctx.cuda->choice;
  if (!choice.layers_at_once || !fits(ctx, a)) {
    return choice.cache_in_product ? decode_layers_unfused<JoinedOps>(ctx, a)
                                   : decode_layers_unfused<Ops>(ctx, a);
  }
  using namespace whole_step;
  backend::ArenaScope scope(*ctx.arena);
  Step p{.layers = {},
         .count = static_cast<int>(a.layers.size()),
         .x = a.x.data<bf16>(),
         .table = a.table.data<float>(),
         .slots = a.slots.data<int32_t>(),
         .page_list = a.page_list.data<int32_t>(),
         .sequences = a.sequences.data<int32_t>(),
         .scale2 = a.scale * kLog2e,
         .eps = a.eps,
         .q = ctx.make(Dtype::f32, {kHeads * kDim}).data<float>(),
         .o = ctx.make(Dtype::f32, {kKeyHeads * kHidden}).data<float>(),
         .down = ctx.make(Dtype::f32, {kHidden}).data<float>(),
         .inner = ctx.make(Dtype::bf16, {kFfn}).data<bf16>(),
         .partial = ctx.make(Dtype::f32, {kBlocks * kGroup * kDim}).data<float>(),
         .peaks = reinterpret_cast<float2*>(ctx.make(Dtype::f32, {kBlocks * kGroup * 2}).raw()),
         .counters = ctx.cuda->counters + backend::CudaState::kCounters - GridBarrier::kCounters};
  for (size_t i = 0; i < a.layers.size(); ++i) {
    const DecodeLayer& w = a.layers[i];
    p.layers[i] = {.attn_norm = w.attn_norm.data<float>(),
                   .ffn_norm = w.ffn_norm.data<float>(),
                   .qkv = bytes_of(w.qkv),
                   .o = bytes_of(w.o),
                   .gate = bytes_of(w.gate),
                   .up = bytes_of(w.up),
                   .down = bytes_of(w.down),
                   .k = w.k_pages.data<bf16>(),
                   .v = w.v_pages.data<bf16>()};
  }
  launch(
      ctx, "decode_all_layers",
      {.grid = dim3(kBlocks), .block = dim3(kThreads), .shared_bytes = kShared, .together = true},
      decode_all_layers, p);
}

}  // namespace offbook::ops::cuda