#include <array>
#include <cstring>

#include "src/ops/dequantize/decode.h"
#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {
namespace {

// One block at a time, in the order and with the roundings of docs/formats/quantised.md.
class Block {
 public:
  explicit Block(const std::byte* at) : at_(at) {}
  int u8(int i) const { return static_cast<int>(at_[i]); }
  int i8(int i) const { return static_cast<int8_t>(at_[i]); }
  int low(int i) const { return u8(i) & 15; }
  int high(int i) const { return u8(i) >> 4; }
  // Bit `bit` of the little-endian number that starts at byte i.
  int bit(int i, int bit) const { return u8(i + bit / 8) >> bit % 8 & 1; }
  float f16(int i) const {
    F16 half;
    std::memcpy(&half, at_ + i, 2);
    return to_float(half);
  }
  // 6-bit scale and minimum of sub-block g of q4_k and q5_k: 12 bytes at byte 4.
  int scale6(int g) const { return g < 4 ? u8(4 + g) & 63 : low(8 + g) | u8(g) >> 6 << 4; }
  int minimum6(int g) const { return g < 4 ? u8(8 + g) & 63 : high(8 + g) | u8(4 + g) >> 6 << 4; }

 private:
  const std::byte* at_;
};

float q4_0(Block b, int i) {
  return static_cast<float>((i < 16 ? b.low(2 + i) : b.high(i - 14)) - 8) * b.f16(0);
}

float q4_1(Block b, int i) {
  return static_cast<float>(i < 16 ? b.low(4 + i) : b.high(i - 12)) * b.f16(0) + b.f16(2);
}

float q5_0(Block b, int i) {
  const int q = (i < 16 ? b.low(6 + i) : b.high(i - 10)) + 16 * b.bit(2, i);
  return static_cast<float>(q - 16) * b.f16(0);
}

float q5_1(Block b, int i) {
  const int q = (i < 16 ? b.low(8 + i) : b.high(i - 8)) + 16 * b.bit(4, i);
  return static_cast<float>(q) * b.f16(0) + b.f16(2);
}

float k_value(Block b, int g, int q) {
  const float scale = b.f16(0) * static_cast<float>(b.scale6(g));
  const float minimum = b.f16(2) * static_cast<float>(b.minimum6(g));
  return scale * static_cast<float>(q) - minimum;
}

float q4_k(Block b, int i) {
  const int g = i / 32;
  const int byte = 16 + g / 2 * 32 + i % 32;
  return k_value(b, g, g % 2 == 0 ? b.low(byte) : b.high(byte));
}

float q5_k(Block b, int i) {
  const int g = i / 32;
  const int byte = 48 + g / 2 * 32 + i % 32;
  const int fifth = b.u8(16 + i % 32) >> g & 1;
  return k_value(b, g, (g % 2 == 0 ? b.low(byte) : b.high(byte)) + 16 * fifth);
}

float q6_k(Block b, int i) {
  const int half = i / 128;
  const int quarter = i % 128 / 32;
  const int byte = half * 64 + quarter % 2 * 32 + i % 32;
  const int four = quarter < 2 ? b.low(byte) : b.high(byte);
  const int two = b.u8(128 + half * 32 + i % 32) >> 2 * quarter & 3;
  const float scale = b.f16(208) * static_cast<float>(b.i8(192 + i / 16));
  return scale * static_cast<float>(four + 16 * two - 32);
}

float value(Dtype dtype, Block b, int i) {
  switch (dtype) {
    case Dtype::q8_0:
      return static_cast<float>(b.i8(2 + i)) * b.f16(0);
    case Dtype::q4_0:
      return q4_0(b, i);
    case Dtype::q4_1:
      return q4_1(b, i);
    case Dtype::q5_0:
      return q5_0(b, i);
    case Dtype::q5_1:
      return q5_1(b, i);
    case Dtype::q4_k:
      return q4_k(b, i);
    case Dtype::q5_k:
      return q5_k(b, i);
    case Dtype::q6_k:
      return q6_k(b, i);
    case Dtype::f16:
      return b.f16(0);
    case Dtype::bf16:
      return to_float(Bf16{static_cast<uint16_t>(b.u8(0) | b.u8(1) << 8)});
    default:
      return 0;  // f32 is copied by decode, nothing else is a weight
  }
}

}  // namespace

void decode(Dtype dtype, const std::byte* from, int64_t count, float* to) noexcept {
  if (dtype == Dtype::f32) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const DtypeInfo& info = dtype_info(dtype);
  for (int64_t i = 0; i < count; ++i) {
    const std::byte* block = from + i / info.block_elems * info.block_bytes;
    to[i] = value(dtype, Block(block), static_cast<int>(i % info.block_elems));
  }
}

void dequantize(const ExecutionContext&, const DequantizeArgs& a) {
  std::vector<float> row(static_cast<size_t>(a.x.dim(1)));
  for (int64_t r = 0; r < a.x.dim(0); ++r) {
    decode(a.x.dtype(), a.x.row_raw(r), a.x.dim(1), row.data());
    for (int64_t c = 0; c < a.x.dim(1); ++c) {
      set(a.out, row[static_cast<size_t>(c)], r, c);
    }
  }
}

}  // namespace offbook::ops::ref
