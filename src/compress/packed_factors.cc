#include "src/compress/packed_factors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/base/error.h"
#include "src/base/float16.h"

namespace offbook::compress {
namespace {

struct Form {
  int bits;
  int32_t low, high;  // of codes
  int64_t block_bytes;
};

Form form_of(int bits) {
  OB_REQUIRE(bits == 8 || bits == 4, InvalidArgument, "factors are packed in 8 or 4 bits, not {}",
             bits);
  return bits == 8 ? Form{8, -127, 127, 2 + kFactorBlock} : Form{4, -8, 7, 2 + kFactorBlock / 2};
}

int32_t code(float value, float scale, const Form& form) {
  const float q = scale == 0 ? 0 : std::nearbyint(value / scale);
  return std::clamp(static_cast<int32_t>(q), form.low, form.high);
}

double squared_error(const float* values, float scale, const Form& form) {
  double sum = 0;
  for (int64_t i = 0; i < kFactorBlock; ++i) {
    const double d = values[i] - scale * static_cast<float>(code(values[i], scale, form));
    sum += d * d;
  }
  return sum;
}

// The largest value sits on the lowest code or a little outside of what codes reach.
Bf16 best_scale(const float* values, const Form& form) {
  const float largest = *std::max_element(
      values, values + kFactorBlock, [](float a, float b) { return std::abs(a) < std::abs(b); });
  Bf16 best = to_bf16(0.0f);
  double least = squared_error(values, 0, form);
  for (int step = 0; step <= 12; ++step) {
    const float reach =
        static_cast<float>(form.low) * (1.0f + 0.04f * static_cast<float>(step - 4));
    for (const float sign : {1.0f, -1.0f}) {
      const Bf16 scale = to_bf16(sign * largest / reach);
      const double error = squared_error(values, to_float(scale), form);
      if (error < least) {
        least = error;
        best = scale;
      }
    }
  }
  return best;
}

float value_at(const Tensor& t, int64_t i) {
  return t.dtype() == Dtype::f32 ? t.data<float>()[i] : to_float(t.data<Bf16>()[i]);
}

bool is_factor(const std::string& name) {
  return name.starts_with("lora.") || name.starts_with("reader.");
}

}  // namespace

Tensor pack_factors(const Tensor& values, int bits) {
  const Form form = form_of(bits);
  OB_REQUIRE(values.dtype() == Dtype::f32 || values.dtype() == Dtype::bf16, InvalidArgument,
             "factors to pack are f32 or bf16, not {}", to_string(values));
  const int64_t blocks = (values.numel() + kFactorBlock - 1) / kFactorBlock;
  Tensor out = Tensor::empty(Dtype::u8, {blocks, form.block_bytes});
  auto* to = reinterpret_cast<uint8_t*>(out.raw());
  for (int64_t b = 0; b < blocks; ++b, to += form.block_bytes) {
    float block[kFactorBlock] = {};
    for (int64_t i = 0; i < std::min(kFactorBlock, values.numel() - b * kFactorBlock); ++i) {
      block[i] = value_at(values, b * kFactorBlock + i);
    }
    const Bf16 scale = best_scale(block, form);
    std::memcpy(to, &scale, sizeof scale);
    std::fill(to + 2, to + form.block_bytes, uint8_t{0});
    for (int64_t i = 0; i < kFactorBlock; ++i) {
      const int32_t q = code(block[i], to_float(scale), form);
      if (bits == 8) {
        to[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(q));
      } else {
        to[2 + i / 2] = static_cast<uint8_t>(to[2 + i / 2] | ((q + 8) << (i % 2 == 0 ? 0 : 4)));
      }
    }
  }
  return out;
}

Tensor unpack_factors(const Tensor& packed, int bits, const Shape& shape) {
  const Form form = form_of(bits);
  Tensor out = Tensor::empty(Dtype::f32, shape);
  const int64_t blocks = (out.numel() + kFactorBlock - 1) / kFactorBlock;
  OB_REQUIRE(packed.dtype() == Dtype::u8 && packed.shape() == Shape({blocks, form.block_bytes}),
             Corrupt, "{} values of {} bits are u8 [{}, {}], not {}", out.numel(), bits, blocks,
             form.block_bytes, to_string(packed));
  const auto* from = reinterpret_cast<const uint8_t*>(packed.raw());
  for (int64_t i = 0; i < out.numel(); ++i) {
    const uint8_t* block = from + i / kFactorBlock * form.block_bytes;
    const int64_t at = i % kFactorBlock;
    Bf16 scale;
    std::memcpy(&scale, block, sizeof scale);
    const int32_t q = bits == 8 ? static_cast<int8_t>(block[2 + at])
                                : ((block[2 + at / 2] >> (at % 2 == 0 ? 0 : 4)) & 15) - 8;
    out.data<float>()[i] = to_float(scale) * static_cast<float>(q);
  }
  return out;
}

CompressorWeights with_packed_factors(const CompressorWeights& weights, int bits) {
  CompressorWeights out = weights;
  if (bits == 16) {
    return out;
  }
  out.tensors.clear();
  for (const auto& [name, tensor] : weights.tensors) {
    const bool is_packed = tensor.dtype() == Dtype::u8;
    if (is_factor(name) && !is_packed) {
      out.tensors[fmt::format("{}.q{}", name, bits)] = pack_factors(tensor, bits);
    } else {
      out.tensors[name] = tensor;
    }
  }
  return out;
}

}  // namespace offbook::compress
