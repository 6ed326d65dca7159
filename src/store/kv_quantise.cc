#include "src/store/kv_quantise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace offbook::store {
namespace {

float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

uint16_t to_bf16(float value) {  // to nearest, ties to even; finite values only
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The largest bf16 not above a finite value.
uint16_t bf16_below(float value) {
  auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);  // towards zero
  if (from_bf16(bits) > value) {
    ++bits;  // negative: one step away from zero
  }
  return bits;
}

uint16_t bf16_above(float value) {
  const uint16_t below = bf16_below(-value);
  return below ^ 0x8000;
}

float from_f16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits} >> 15 << 31;
  const uint32_t exponent = (bits >> 10) & 31;
  const uint32_t mantissa = bits & 1023;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

uint16_t to_f16(float value) {  // to nearest, ties to even; saturates at the largest finite value
  const auto sign = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16 & 0x8000);
  const float magnitude = std::min(std::fabs(value), 65504.0f);
  if (magnitude < 0x1p-14f) {
    return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24)));
  }
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0xfff + ((bits >> 13) & 1);
  return sign | static_cast<uint16_t>((rounded - (112u << 23)) >> 13);
}

struct Sizes {  // of a KV prefix
  int64_t layers, slots, heads, head_dim;
  int64_t row() const { return heads * head_dim; }            // elements of one slot
  int64_t plane() const { return slots * heads * head_dim; }  // of a layer's keys or values
};

std::vector<float> to_floats(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.numel()));
  for (size_t i = 0; i < values.size(); ++i) {
    switch (tensor.dtype()) {
      case Dtype::f32:
        values[i] = tensor.data<float>()[i];
        break;
      case Dtype::bf16:
        values[i] = from_bf16(tensor.data<uint16_t>()[i]);
        break;
      default:
        values[i] = from_f16(tensor.data<uint16_t>()[i]);
    }
  }
  return values;
}

struct Range {  // of the values that share one low and one step
  float low = std::numeric_limits<float>::infinity();
  float high = -std::numeric_limits<float>::infinity();

  void include(float value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Rounded outwards, so that low + levels × step reaches high; returns {low, step} as stored.
  std::pair<uint16_t, uint16_t> stored(int levels) const {
    const uint16_t bottom = bf16_below(low);
    const float width = (high - from_bf16(bottom)) / static_cast<float>(levels);
    return {bottom, width > 0 ? bf16_above(width) : uint16_t{0}};
  }
};

// One plane (a layer's keys or values) and how its elements share ranges.
class PlaneCoder {
 public:
  PlaneCoder(const Sizes& sizes, int bits, bool per_channel, uint16_t* ranges)
      : sizes_(sizes), levels_((1 << bits) - 1), per_channel_(per_channel), ranges_(ranges) {}

  void encode(const float* plane, uint8_t* codes) {
    std::vector<Range> ranges(range_count());
    for_each([&](int64_t i, int64_t range) { ranges[range].include(plane[i]); });
    for (size_t i = 0; i < ranges.size(); ++i) {
      std::tie(ranges_[2 * i], ranges_[2 * i + 1]) = ranges[i].stored(levels_);
    }
    for_each([&](int64_t i, int64_t range) {
      const float step = from_bf16(ranges_[2 * range + 1]);
      const float at = step > 0 ? (plane[i] - from_bf16(ranges_[2 * range])) / step : 0.0f;
      put(codes, i, static_cast<int>(std::clamp(std::nearbyint(at), 0.0f, float(levels_))));
    });
  }

  void decode(const uint8_t* codes, float* plane) const {
    for_each([&](int64_t i, int64_t range) {
      plane[i] = from_bf16(ranges_[2 * range]) +
                 static_cast<float>(get(codes, i)) * from_bf16(ranges_[2 * range + 1]);
    });
  }

  size_t range_count() const {
    return static_cast<size_t>(per_channel_ ? sizes_.row() : sizes_.slots * sizes_.heads);
  }

 private:
  template <typename Visit>
  void for_each(Visit visit) const {
    int64_t i = 0;
    for (int64_t group = 0; group < sizes_.slots * sizes_.heads; ++group) {
      const int64_t first = group % sizes_.heads * sizes_.head_dim;
      for (int64_t d = 0; d < sizes_.head_dim; ++d, ++i) {
        visit(i, per_channel_ ? first + d : group);
      }
    }
  }
  void put(uint8_t* codes, int64_t i, int code) const {
    if (levels_ == 255) {
      codes[i] = static_cast<uint8_t>(code);
    } else {
      codes[i / 2] |= static_cast<uint8_t>(code << (i % 2 * 4));  // codes start as zeros
    }
  }
  int get(const uint8_t* codes, int64_t i) const {
    return levels_ == 255 ? codes[i] : codes[i / 2] >> (i % 2 * 4) & 15;
  }

  Sizes sizes_;
  int levels_;
  bool per_channel_;
  uint16_t* ranges_;
};

// Calls visit(plane index, coder) for every layer's keys (even) and values (odd).
template <typename Visit>
void for_each_plane(const Sizes& sizes, const QuantisedKv& q, Visit visit) {
  for (int64_t layer = 0; layer < sizes.layers; ++layer) {
    visit(2 * layer,
          PlaneCoder(sizes, q.bits, true, q.key_ranges.data<uint16_t>() + layer * sizes.row() * 2));
    visit(2 * layer + 1,
          PlaneCoder(sizes, q.bits, false,
                     q.value_ranges.data<uint16_t>() + layer * sizes.slots * sizes.heads * 2));
  }
}

void check_kv(const Tensor& kv, int bits) {
  OB_REQUIRE(bits == 8 || bits == 4, InvalidArgument, "KV is stored in 8 or 4 bits, not {}", bits);
  OB_REQUIRE(kv.rank() == 5 && kv.dim(1) == 2 && is_float(kv.dtype()) && kv.is_contiguous(),
             InvalidArgument,
             "a KV prefix is a contiguous float [layer, 2, n, kv_head, head_dim], not {}",
             to_string(kv));
  OB_REQUIRE(bits == 8 || kv.dim(4) % 2 == 0, InvalidArgument,
             "4-bit KV needs an even head_dim, not {}", kv.dim(4));
}

Sizes checked_sizes(const QuantisedKv& q) {
  OB_REQUIRE((q.bits == 8 || q.bits == 4) && q.codes.rank() == 5 && q.codes.dtype() == Dtype::u8,
             Corrupt, "quantised KV of {} bits: codes {}", q.bits, to_string(q.codes));
  const Sizes s{q.codes.dim(0), q.codes.dim(2), q.codes.dim(3), q.codes.dim(4) * 8 / q.bits};
  OB_REQUIRE(q.codes.dim(1) == 2 && q.key_ranges.dtype() == Dtype::bf16 &&
                 q.value_ranges.dtype() == Dtype::bf16 &&
                 q.key_ranges.shape() == Shape({s.layers, s.heads, s.head_dim, 2}) &&
                 q.value_ranges.shape() == Shape({s.layers, s.slots, s.heads, 2}),
             Corrupt, "quantised KV: codes {}, key ranges {}, value ranges {} do not match",
             to_string(q.codes), to_string(q.key_ranges), to_string(q.value_ranges));
  return s;
}

}  // namespace

QuantisedKv quantise_kv(const Tensor& kv, int bits) {
  check_kv(kv, bits);
  const Sizes s{kv.dim(0), kv.dim(2), kv.dim(3), kv.dim(4)};
  const std::vector<float> values = to_floats(kv);
  // Above 1e38 a range would not fit a float; such a value is as broken as a NaN.
  OB_REQUIRE(std::ranges::all_of(values, [](float v) { return std::fabs(v) < 1e38f; }),
             InvalidArgument, "KV prefix {} holds a value that is not finite", to_string(kv));
  QuantisedKv q{
      .bits = bits,
      .codes = Tensor::zeros(Dtype::u8, {s.layers, 2, s.slots, s.heads, s.head_dim * bits / 8}),
      .key_ranges = Tensor::zeros(Dtype::bf16, {s.layers, s.heads, s.head_dim, 2}),
      .value_ranges = Tensor::zeros(Dtype::bf16, {s.layers, s.slots, s.heads, 2})};
  if (s.plane() > 0) {
    for_each_plane(s, q, [&](int64_t plane, PlaneCoder coder) {
      coder.encode(values.data() + plane * s.plane(),
                   q.codes.data<uint8_t>() + plane * s.plane() * bits / 8);
    });
  }
  return q;
}

Tensor dequantise_kv(const QuantisedKv& q, Dtype dtype) {
  OB_REQUIRE(is_float(dtype), InvalidArgument, "KV comes back as a float type, not {}",
             dtype_info(dtype).name);
  const Sizes s = checked_sizes(q);
  Tensor kv = Tensor::empty(dtype, {s.layers, 2, s.slots, s.heads, s.head_dim});
  if (kv.numel() == 0) {
    return kv;
  }
  std::vector<float> plane_values(static_cast<size_t>(s.plane()));
  for_each_plane(s, q, [&](int64_t plane, const PlaneCoder& coder) {
    coder.decode(q.codes.data<uint8_t>() + plane * s.plane() * q.bits / 8, plane_values.data());
    if (dtype == Dtype::f32) {
      std::copy(plane_values.begin(), plane_values.end(), kv.data<float>() + plane * s.plane());
    } else {
      std::transform(plane_values.begin(), plane_values.end(),
                     kv.data<uint16_t>() + plane * s.plane(),
                     dtype == Dtype::bf16 ? to_bf16 : to_f16);
    }
  });
  return kv;
}

}  // namespace offbook::store
