// SmolLM2-135M's shape in one cooperative kernel: a block a multiprocessor, which hand one another
// five vectors a layer instead of ending six kernels. While a layer runs, every block has its rows
// of the next layer's matrices and its stretch of the next layer's cache under way to shared
// memory, so that only activations pass between blocks.
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

// Four neighbouring words of each of kRows vectors.
template <int kRows>
__device__ void take_rows(const uint64_t* from, uint32_t turn, float (&x)[kRows][4]) {
  bool all;
  do {
    all = true;
    uint64_t seen[kRows][4];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        seen[i][j] = look_at(from + i * kHidden + j);
      }
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        all = all && static_cast<uint32_t>(seen[i][j] >> 32) == turn;
        x[i][j] = __uint_as_float(static_cast<uint32_t>(seen[i][j]));
      }
    }
  } while (!all);
}

// Adds kTerms vectors of a turn to the residual stream; its rms_norm is the vector of the next
// product.
template <int kTerms>
__device__ void add_and_norm(const Block& b, const uint64_t* terms, uint32_t turn,
                             const float* weight) {
  constexpr int kAdders = kHidden / 4;
  constexpr int kAdderWarps = (kAdders + 31) / 32;
  float4 x = make_float4(0, 0, 0, 0);
  if (threadIdx.x < kAdders) {
    x = reinterpret_cast<const float4*>(b.x)[threadIdx.x];
    if constexpr (kTerms > 0) {
      float term[kTerms][4];
      take_rows(terms + threadIdx.x * 4, turn, term);
#pragma unroll
      for (int i = 0; i < kTerms; ++i) {
        x.x += term[i][0], x.y += term[i][1], x.z += term[i][2], x.w += term[i][3];
      }
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

// Queries to the words of the layer; the new token's keys and values to its slot, and there too.
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
  out = rounded(out);
  Words& words = b.words(layer);
  const uint32_t turn = b.turn + layer;
  if (head < kHeads) {
    put_word(words.q + head * kDim + column, out, turn);
    return;
  }
  const LayerPointers& w = b.p.layers[layer];
  const bool is_key = head < kHeads + kKeyHeads;
  const int key_head = (head - kHeads) % kKeyHeads;
  put_word((is_key ? words.k : words.v) + key_head * kDim + column, out, turn);
  bf16* pages = is_key ? w.k : w.v;
  pages[b.place(b.slot, key_head) + column] = __float2bfloat16_rn(out);
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
    put_word(b.words(layer).inner + first + threadIdx.x,
             g * __fdividef(1.0f, 1.0f + __expf(-g)) * up, b.turn + layer);
  }
}

__device__ void project_down(const Block& b, int layer) {
  const int first = static_cast<int>(blockIdx.x) * kRowsOfDown;
  if (first >= kHidden) {
    return;
  }
  constexpr int kUnits = kFfn * 2 / 16;
  constexpr int kEach = kFfn / kThreads;
  static_assert(kEach * kThreads == kFfn);
  float inner[kEach];
  take_words(b.words(layer).inner + threadIdx.x, kThreads, b.turn + layer, inner);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    reinterpret_cast<bf16*>(b.vector)[i * kThreads + threadIdx.x] = __float2bfloat16_rn(inner[i]);
  }
  __syncthreads();
  constexpr int kParts = 12;
  multiply_rows<kRowsOfDown, kParts, kUnits>(b.weights(layer) + kQkvBytes + kOBytes + kGateBytes,
                                             b.vector, b.parts);
  const int row = first + static_cast<int>(threadIdx.x);
  if (threadIdx.x < kRowsOfDown && row < kHidden) {
    put_word(b.words(layer).down + row, row_sum<kParts>(b.parts, threadIdx.x), b.turn + layer);
  }
}

__global__ void __launch_bounds__(kThreads, 1) decode_all_layers(const __grid_constant__ Step p) {
  extern __shared__ __align__(128) uint8_t shared[];
  const Block b(p, shared);
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
    const uint32_t turn = b.turn + layer;
    const float* const norms = b.norms(layer);
    if (layer == 0) {
      add_and_norm<0>(b, nullptr, turn, norms);
    } else {
      add_and_norm<1>(b, b.words(layer - 1).down, turn - 1, norms);
    }
    project(b, layer);
    __syncthreads();
    if (goes_on) {
      ask_for_qkv(b, layer + 2);
    }
    attend(b, layer);
    __syncthreads();
    if (goes_on) {
      ask_for_stretch(b, layer + 2);
    }
    join_and_project(b, layer);
    __syncthreads();
    if (goes_on) {
      ask_for_o(b, layer + 2);
    }
    static_assert(kKeyHeads == 3);
    add_and_norm<3>(b, b.words(layer).o, turn, norms + kHidden);
    gate(b, layer);
    __syncthreads();
    if (goes_on) {
      ask_for_gate(b, layer + 2);
    }
    project_down(b, layer);
    __syncthreads();
    if (goes_on) {
      ask_for_down(b, layer + 2);
      wait_for_copies<kGroupsOfLayer>();  // those of the next layer are older
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
  }
  if (blockIdx.x == 0) {
    const Words& words = b.words(p.count - 1);
    for (int i = threadIdx.x; i < kHidden; i += kThreads) {
      float down[1];
      take_words(words.down + i, 0, b.turn + p.count - 1, down);
      p.x[i] = __float2bfloat16_rn(b.x[i] + down[0]);
    }
  }
  // The block that ends last counts the turns of this launch.
  if (threadIdx.x == 0 && atomicInc(p.turns + 1, gridDim.x - 1) == gridDim.x - 1) {
    *p.turns = b.turn + static_cast<uint32_t>(p.count) - 1;
  }
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
  if (!ctx.cuda->choice.layers_at_once || !fits(ctx, a)) {
    return decode_layers_unfused<JoinedOps>(ctx, a);
  }
  using namespace whole_step;
  static_assert(2 * sizeof(Words) <= backend::CudaState::kWordBytes);
  Step p{.layers = {},
         .count = static_cast<int>(a.layers.size()),
         .x = a.x.data<bf16>(),
         .table = a.table.data<float>(),
         .slots = a.slots.data<int32_t>(),
         .page_list = a.page_list.data<int32_t>(),
         .sequences = a.sequences.data<int32_t>(),
         .scale2 = a.scale * kLog2e,
         .eps = a.eps,
         .words = static_cast<Words*>(ctx.cuda->words),
         .turns = ctx.cuda->counters + backend::CudaState::kCounters - 2};
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