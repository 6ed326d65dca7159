// A token of SmolLM2-135M's shape in one kernel: what each block has of the matrices and of the
// cache, and how it comes to shared memory ahead of its use.
#pragma once
#include "src/ops/attention/tiles_cuda.cuh"
#include "src/ops/decode_layers/grid_cuda.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda::whole_step {

constexpr int kHidden = 576;
constexpr int kHeads = 9;
constexpr int kKeyHeads = 3;
constexpr int kDim = 64;
constexpr int kFfn = 1536;
constexpr int kGroup = kHeads / kKeyHeads;
constexpr int kQkv = (kHeads + 2 * kKeyHeads) * kDim;

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kBlocks = 132;  // of an H200: where the stretches lie decides the bits
constexpr int kStretches = kBlocks / kKeyHeads;
constexpr int kPairs = 4;  // rows of q, k and v in pairs that RoPE turns, of a block
constexpr int kRowsOfO = 14;
constexpr int kRowsOfGate = 12;
constexpr int kRowsOfDown = 5;
static_assert(kBlocks * kPairs * 2 >= kQkv && kStretches * kRowsOfO >= kHidden &&
              kBlocks * kRowsOfGate >= kFfn && kBlocks * kRowsOfDown >= kHidden);
static_assert(kDim / 2 % kPairs == 0);

constexpr int kRowBytes = kHidden * 2;
constexpr int kHeadsBytes = kGroup * kDim * 2;  // of a row of o: one group's columns
constexpr int kQkvBytes = 2 * kPairs * kRowBytes;
constexpr int kOBytes = kRowsOfO * kHeadsBytes;
constexpr int kGateBytes = 2 * kRowsOfGate * kRowBytes;
constexpr int kDownBytes = kRowsOfDown * kFfn * 2;
constexpr int kWeightBytes = kQkvBytes + kOBytes + kGateBytes + kDownBytes;

// Tokens of a stretch that lie in shared memory at once: all of them up to 8,448 in the cache.
constexpr int kTile = 192;
constexpr int kTileBytes = kTile * kDim * 2;
constexpr int kTokensAtOnce = kThreads / 8;
constexpr int kNearPages = kTile / kPageTokens + 1;

constexpr int kNormBytes = kHidden * 4;  // two a layer

constexpr int kPieces = 2 * kWeightBytes + 4 * kTileBytes + 4 * kNormBytes;
constexpr int kTriples = kGroup * kDim / 3;    // of a stretch
constexpr int kJoiners = kThreads / kTriples;  // neighbouring threads that share one
constexpr int kPartBytes = kGroup * kDim * 4;
constexpr int kScaleBytes = kGroup * kStretches * 4;
static_assert(kTriples * 3 == kGroup * kDim && kJoiners == 8);
constexpr int kShared = kPieces + kHidden * 4 + kFfn * 2 + kPartBytes + kScaleBytes + kDim * 4 + 64;

struct LayerPointers {
  const float *attn_norm, *ffn_norm;
  const uint8_t *qkv, *o, *gate, *up, *down;
  bf16 *k, *v;
};

struct Words {
  uint64_t q[kHeads * kDim];
  uint64_t k[kKeyHeads * kDim];  // of the new token, turned
  uint64_t v[kKeyHeads * kDim];
  uint64_t o[kKeyHeads * kHidden];  // what each group adds to the residual stream
  uint64_t down[kHidden];
  uint64_t inner[kFfn];
  Triple partial[kBlocks * kTriples];  // [group, dim] of a stretch: not yet divided by their sums
  Triple peaks[kBlocks * kGroup];      // largest score, sum
};

struct Step {
  LayerPointers layers[kMostDecodeLayers];
  int count;
  bf16* x;
  const float* table;
  const int32_t *slots, *page_list, *sequences;
  float scale2;  // of scores, for powers of two
  float eps;
  // Between phases, in the L2; of every other layer the same places.
  Words* words;     // [2]
  uint32_t* turns;  // layers of all launches so far, and blocks of this one that have ended
};

// What a block of this kernel is, and its memory.
struct Block {
  const Step& p;
  uint8_t* pieces;
  float* x;         // [hidden]
  uint8_t* vector;  // what enters a product, bf16
  float* parts;     // sums of groups of threads
  float* scales;    // [group, stretches]
  float* table;     // [dim] cosines and sines of the token's position
  int32_t* near;    // pages of the first tile
  int key_head;
  int stretch;
  int first_pair;
  uint32_t turn;  // of layer 0
  int64_t slot;   // of the new token
  int length;     // tokens in the cache, the new one included
  int first;      // tokens of the stretch
  int last;
  const int32_t* pages;

  __device__ Block(const Step& step, uint8_t* shared)
      : p(step),
        pieces(shared),
        x(reinterpret_cast<float*>(shared + kPieces)),
        vector(reinterpret_cast<uint8_t*>(x + kHidden)),
        parts(reinterpret_cast<float*>(vector + kFfn * 2)),
        scales(parts + kPartBytes / 4),
        table(scales + kGroup * kStretches),
        near(reinterpret_cast<int32_t*>(table + kDim)),
        key_head(static_cast<int>(blockIdx.x) % kKeyHeads),
        stretch(static_cast<int>(blockIdx.x) / kKeyHeads),
        first_pair(static_cast<int>(blockIdx.x) * kPairs) {
    const auto& sequence = *reinterpret_cast<const PagedSequence*>(step.sequences);
    length = sequence.kv_length;
    pages = step.page_list + sequence.pages_begin;
    const int each = (length + kStretches - 1) / kStretches;
    first = min(stretch * each, length);
    last = min(length, first + each);
    slot = step.slots[0];
    turn = *step.turns + 1;
    if (threadIdx.x < kDim) {
      table[threadIdx.x] = step.table[threadIdx.x];
    }
    const int page = first / kPageTokens + static_cast<int>(threadIdx.x);
    if (threadIdx.x < kNearPages && page * kPageTokens < last) {
      near[threadIdx.x] = pages[page];
    }
    __syncthreads();
  }

  __device__ Words& words(int layer) const { return p.words[layer % 2]; }
  __device__ uint8_t* weights(int layer) const { return pieces + layer % 2 * kWeightBytes; }
  __device__ uint8_t* keys(int layer) const {
    return pieces + 2 * kWeightBytes + layer % 2 * 2 * kTileBytes;
  }
  __device__ float* norms(int layer) const {  // of attention, then of the feed-forward part
    return reinterpret_cast<float*>(pieces + 2 * kWeightBytes + 4 * kTileBytes +
                                    layer % 2 * 2 * kNormBytes);
  }
  __device__ uint8_t* values(int layer) const { return keys(layer) + kTileBytes; }
  // Of the key head in the pages, in elements.
  __device__ int64_t place(int64_t slot, int head) const {
    return (slot * kKeyHeads + head) * kDim;
  }
  __device__ int64_t slot_of(int token) const {
    return int64_t{pages[token / kPageTokens]} * kPageTokens + token % kPageTokens;
  }
};

template <int kBytes, class From>
__device__ void ask_for(uint8_t* to, const From& from) {
#pragma unroll
  for (int i = threadIdx.x; i < kBytes / 16; i += kThreads) {
    if (const uint8_t* source = from(i); source != nullptr) {
      copy_ahead(to + i * 16, source);
    }
  }
}

// Tokens first…first + kTile - 1 of the stretch, as far as they are there. The new token's row is
// asked for too, and put in its place later.
__device__ inline void ask_for_tile(const Block& b, int layer, int first) {
  const LayerPointers& w = b.p.layers[layer];
  for (int i = threadIdx.x; i < kTile * 8; i += kThreads) {
    const int token = first + i / 8;
    if (token < b.last) {
      const int page = token / kPageTokens - b.first / kPageTokens;
      const int64_t slot = page < kNearPages
                               ? int64_t{b.near[page]} * kPageTokens + token % kPageTokens
                               : b.slot_of(token);
      const int64_t at = b.place(slot, b.key_head) + i % 8 * 8;
      copy_ahead(b.keys(layer) + i * 16, w.k + at);
      copy_ahead(b.values(layer) + i * 16, w.v + at);
    }
  }
}

constexpr int kUnits = kRowBytes / 16;  // of a row of qkv, gate and up

// The pieces of a layer, each to where the layer two before it had its own. A group of copies each.
__device__ inline void ask_for_qkv(const Block& b, int layer) {
  const LayerPointers& w = b.p.layers[layer];
  if (b.first_pair < kQkv / 2) {  // four rows of a head, then the four that RoPE turns with them
    const int row0 = b.first_pair / (kDim / 2) * kDim + b.first_pair % (kDim / 2);
    ask_for<kQkvBytes>(b.weights(layer), [&](int i) {
      const int r = i / kUnits;
      const int row = row0 + r % kPairs + r / kPairs * (kDim / 2);
      return w.qkv + int64_t{row} * kRowBytes + i % kUnits * 16;
    });
  }
  ask_for<kNormBytes>(reinterpret_cast<uint8_t*>(b.norms(layer)), [&](int i) {
    return reinterpret_cast<const uint8_t*>(w.attn_norm) + i * 16;
  });
  copies_asked_for();
}
__device__ inline void ask_for_stretch(const Block& b, int layer) {
  ask_for_tile(b, layer, b.first);
  copies_asked_for();
}
__device__ inline void ask_for_o(const Block& b, int layer) {
  const LayerPointers& w = b.p.layers[layer];
  ask_for<kOBytes>(b.weights(layer) + kQkvBytes, [&](int i) {
    constexpr int kOfHeads = kHeadsBytes / 16;
    const int row = b.stretch * kRowsOfO + i / kOfHeads;
    return row < kHidden
               ? w.o + int64_t{row} * kRowBytes + b.key_head * kHeadsBytes + i % kOfHeads * 16
               : nullptr;
  });
  copies_asked_for();
}
__device__ inline void ask_for_gate(const Block& b, int layer) {
  const LayerPointers& w = b.p.layers[layer];
  ask_for<kGateBytes>(b.weights(layer) + kQkvBytes + kOBytes, [&](int i) {
    const int r = i / kUnits;
    const int row = static_cast<int>(blockIdx.x) * kRowsOfGate + r % kRowsOfGate;
    return row < kFfn
               ? (r < kRowsOfGate ? w.gate : w.up) + int64_t{row} * kRowBytes + i % kUnits * 16
               : nullptr;
  });
  ask_for<kNormBytes>(reinterpret_cast<uint8_t*>(b.norms(layer) + kHidden),
                      [&](int i) { return reinterpret_cast<const uint8_t*>(w.ffn_norm) + i * 16; });
  copies_asked_for();
}
__device__ inline void ask_for_down(const Block& b, int layer) {
  const LayerPointers& w = b.p.layers[layer];
  ask_for<kDownBytes>(b.weights(layer) + kQkvBytes + kOBytes + kGateBytes, [&](int i) {
    constexpr int kOfDown = kFfn * 2 / 16;
    const int row = static_cast<int>(blockIdx.x) * kRowsOfDown + i / kOfDown;
    return row < kHidden ? w.down + int64_t{row} * kFfn * 2 + i % kOfDown * 16 : nullptr;
  });
  copies_asked_for();
}
constexpr int kGroupsOfLayer = 5;

}  // namespace offbook::ops::cuda::whole_step
