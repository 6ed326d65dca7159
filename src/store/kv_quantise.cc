#include "src/store/kv_quantise.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
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

// The ranges of a plane's channels, as they are stored and as they are read.
class Ranges {
 public:
  Ranges(int64_t channels, int levels)
      : levels_(levels),
        low_(static_cast<size_t>(channels)),
        step_(static_cast<size_t>(channels)),
        steps_in_one_(static_cast<size_t>(channels)) {}

  // From low to high, rounded outwards, so that low + levels × step reaches high.
  void set(size_t channel, float low, float high) {
    low_[channel] = from_bf16(bf16_below(low));
    const float width = (high - low_[channel]) / static_cast<float>(levels_);
    step_[channel] = width > 0 ? from_bf16(bf16_above(width)) : 0.0f;
    steps_in_one_[channel] = step_[channel] > 0 ? 1 / step_[channel] : 0.0f;
  }
  void copy(size_t channel, const Ranges& from) {
    low_[channel] = from.low_[channel];
    step_[channel] = from.step_[channel];
    steps_in_one_[channel] = from.steps_in_one_[channel];
  }
  void store(uint16_t* to) const {
    for (size_t c = 0; c < low_.size(); ++c) {
      to[2 * c] = to_bf16(low_[c]);
      to[2 * c + 1] = to_bf16(step_[c]);
    }
  }
  void load(const uint16_t* from) {
    for (size_t c = 0; c < low_.size(); ++c) {
      low_[c] = from_bf16(from[2 * c]);
      step_[c] = from_bf16(from[2 * c + 1]);
    }
  }
  // row: a slot's channels. To nearest by truncation, which compilers vectorise for any x86-64, as
  // they do not nearbyint.
  void encode(const float* row, int32_t* codes) const {
    const auto most = static_cast<float>(levels_);
    for (size_t c = 0; c < low_.size(); ++c) {
      const float at = (row[c] - low_[c]) * steps_in_one_[c];
      codes[c] = static_cast<int32_t>(std::min(std::max(at, 0.0f), most) + 0.5f);
    }
  }
  void decode(const int32_t* codes, float* row) const {
    for (size_t c = 0; c < low_.size(); ++c) {
      row[c] = low_[c] + static_cast<float>(codes[c]) * step_[c];
    }
  }

 private:
  int levels_;
  std::vector<float> low_, step_, steps_in_one_;
};

// Of a range that is cut at one end or both: four bits give the many in the middle finer steps for
// a few clipped ones. Of SmolLM2's slots at 8× 12% less squared error than whole ranges; cutting up
// to 0.7 as well took four times the time for 0.3% more.
constexpr std::array<float, 2> kKept = {1.0f, 0.9f};

// A layer's keys or values, [slots, channels].
struct Plane {
  const float* values;
  size_t slots, channels;

  const float* row(size_t slot) const { return values + slot * channels; }
};

void add_errors(const Plane& plane, const Ranges& ranges, std::vector<float>& errors) {
  std::vector<int32_t> codes(plane.channels);
  std::vector<float> back(plane.channels);
  for (size_t i = 0; i < plane.slots; ++i) {
    ranges.encode(plane.row(i), codes.data());
    ranges.decode(codes.data(), back.data());
    for (size_t c = 0; c < plane.channels; ++c) {
      const float error = plane.row(i)[c] - back[c];
      errors[c] += error * error;
    }
  }
}

Ranges ranges_of(const Plane& plane, int levels) {
  std::vector<float> low(plane.row(0), plane.row(0) + plane.channels);
  std::vector<float> high = low;
  for (size_t i = 1; i < plane.slots; ++i) {
    for (size_t c = 0; c < plane.channels; ++c) {
      low[c] = std::min(low[c], plane.row(i)[c]);
      high[c] = std::max(high[c], plane.row(i)[c]);
    }
  }
  Ranges best(static_cast<int64_t>(plane.channels), levels);
  for (size_t c = 0; c < plane.channels; ++c) {
    best.set(c, low[c], high[c]);
  }
  if (levels > 15) {
    return best;
  }
  std::vector<float> least(plane.channels);
  add_errors(plane, best, least);
  for (const float down : kKept) {
    for (const float up : kKept) {
      if (down == 1 && up == 1) {
        continue;
      }
      Ranges cut(static_cast<int64_t>(plane.channels), levels);
      for (size_t c = 0; c < plane.channels; ++c) {
        const float middle = (low[c] + high[c]) / 2;
        cut.set(c, middle - (middle - low[c]) * down, middle + (high[c] - middle) * up);
      }
      std::vector<float> errors(plane.channels);
      add_errors(plane, cut, errors);
      for (size_t c = 0; c < plane.channels; ++c) {
        if (errors[c] < least[c]) {
          least[c] = errors[c];
          best.copy(c, cut);
        }
      }
    }
  }
  return best;
}

void encode(const Plane& plane, int bits, uint16_t* stored, uint8_t* codes) {
  const Ranges ranges = ranges_of(plane, (1 << bits) - 1);
  ranges.store(stored);
  std::vector<int32_t> row(plane.channels);
  for (size_t i = 0; i < plane.slots; ++i) {
    ranges.encode(plane.row(i), row.data());
    if (bits == 8) {
      std::copy(row.begin(), row.end(), codes + i * plane.channels);
      continue;
    }
    uint8_t* pairs = codes + i * plane.channels / 2;
    for (size_t c = 0; c < plane.channels; c += 2) {
      pairs[c / 2] = static_cast<uint8_t>(row[c] | row[c + 1] << 4);
    }
  }
}

void decode(const uint8_t* codes, int bits, const uint16_t* stored, size_t slots, size_t channels,
            float* values) {
  Ranges ranges(static_cast<int64_t>(channels), (1 << bits) - 1);
  ranges.load(stored);
  std::vector<int32_t> row(channels);
  for (size_t i = 0; i < slots; ++i) {
    for (size_t c = 0; c < channels; ++c) {
      const size_t at = i * channels + c;
      row[c] = bits == 8 ? codes[at] : codes[at / 2] >> (at % 2 * 4) & 15;
    }
    ranges.decode(row.data(), values + i * channels);
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
  OB_REQUIRE(q.codes.dim(1) == 2 && q.ranges.dtype() == Dtype::bf16 &&
                 q.ranges.shape() == Shape({s.layers, 2, s.heads, s.head_dim, 2}),
             Corrupt, "quantised KV: codes {} and ranges {} do not match", to_string(q.codes),
             to_string(q.ranges));
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
      .ranges = Tensor::zeros(Dtype::bf16, {s.layers, 2, s.heads, s.head_dim, 2})};
  for (int64_t plane = 0; s.plane() > 0 && plane < 2 * s.layers; ++plane) {
    encode({values.data() + plane * s.plane(), static_cast<size_t>(s.slots),
            static_cast<size_t>(s.row())},
           bits, q.ranges.data<uint16_t>() + plane * s.row() * 2,
           q.codes.data<uint8_t>() + plane * s.plane() * bits / 8);
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
  for (int64_t plane = 0; plane < 2 * s.layers; ++plane) {
    decode(q.codes.data<uint8_t>() + plane * s.plane() * q.bits / 8, q.bits,
           q.ranges.data<uint16_t>() + plane * s.row() * 2, static_cast<size_t>(s.slots),
           static_cast<size_t>(s.row()), plane_values.data());
    if (dtype == Dtype::f32) {
      std::copy(plane_values.begin(), plane_values.end(), kv.data<float>() + plane * s.plane());
    } else {
      std::transform(plane_values.begin(), plane_values.end(),
                     kv.data<uint16_t>() + plane * s.plane(),
                     dtype == Dtype::bf16 ? to_bf16 : to_f16);
    }
  }
  return kv;
}

}  // namespace offbook::store
