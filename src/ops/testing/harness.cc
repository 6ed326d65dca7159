#include "src/ops/testing/harness.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "src/backend/cpu/features.h"
#include "src/base/float16.h"
#include "src/ops/ref.h"
#include "src/ops/testing/device.h"

namespace offbook::ops::testing {
namespace {

constexpr int64_t kRedZoneBytes = 256;
constexpr std::byte kRed{0xa5};

// Byte offset of row r of a tensor seen as rows along its last axis.
int64_t row_offset(const Tensor& t, int64_t r) {
  int64_t offset = 0;
  for (int axis = t.rank() - 2; axis >= 0; --axis) {
    offset += r % t.dim(axis) * t.stride(axis);
    r /= t.dim(axis);
  }
  return offset * dtype_info(t.dtype()).block_bytes;
}

int64_t row_count(const Tensor& t) { return t.numel() == 0 ? 0 : t.numel() / t.dim(-1); }

// A tensor's elements in order, as doubles.
std::vector<double> values(const Tensor& t) {
  std::vector<double> out;
  for (int64_t r = 0; r < row_count(t); ++r) {
    const auto at = static_cast<size_t>(t.raw() - t.storage()->data() + row_offset(t, r));
    const Tensor row(t.storage(), t.dtype(), {t.dim(-1)}, at);
    for (int64_t i = 0; i < row.numel(); ++i) {
      out.push_back(t.dtype() == Dtype::i32 ? ref::get_i32(row, i) : ref::get(row, i));
    }
  }
  return out;
}

}  // namespace

Case::Case(ExecutionContext& ctx, uint64_t seed) : ctx_(ctx), state_(seed * 0x9e3779b97f4a7c15ull + 1) {}

uint64_t Case::random() {  // splitmix64
  uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

Tensor Case::region(Dtype dtype, const Shape& shape, const Options& options, Tensor* view) {
  const DtypeInfo& info = dtype_info(dtype);
  Shape wide = shape;
  const int64_t extra = options.strided && shape.rank() >= 2 ? 24 : 0;
  if (extra > 0) {
    OB_CHECK(!is_quantised(dtype));
    wide[shape.rank() - 1] += extra;
  }
  const int64_t payload = shape.rank() == 0 || wide.numel() == 0
                              ? 0
                              : dtype_bytes(dtype, wide[-1]) * (wide.numel() / wide[-1]);
  const int64_t shift = options.misaligned ? info.block_bytes : 0;
  Tensor whole = Tensor::empty(Dtype::u8, {payload + 2 * kRedZoneBytes + shift});
  std::memset(whole.raw(), static_cast<int>(kRed), static_cast<size_t>(whole.bytes()));
  *view = Tensor(whole.storage(), dtype, wide, static_cast<size_t>(kRedZoneBytes + shift));
  if (extra > 0) {
    *view = view->slice(-1, 8, 8 + shape[-1]);
  }
  return whole;
}

Tensor Case::place(Tensor whole, const Tensor& host_view, bool is_output) {
  Region region;
  region.is_output = is_output;
  region.before.assign(whole.raw(), whole.raw() + whole.bytes());
  region.device = to_device(ctx_, whole);
  region.view = host_view.moved_to(region.device.storage());
  region.host_view = host_view;
  region.whole = std::move(whole);
  regions_.push_back(region);
  return region.view;
}

Tensor Case::input(Dtype dtype, const Shape& shape, const Options& options) {
  Tensor view;
  Tensor whole = region(dtype, shape, options, &view);
  const auto normal = [&] {  // sum of uniforms: near enough, and the same everywhere
    double s = -6;
    for (int i = 0; i < 12; ++i) {
      s += static_cast<double>(random() >> 11) * 0x1p-53;
    }
    return s * options.scale;
  };
  if (is_quantised(dtype)) {
    fill_random_blocks(dtype, std::span(view.raw(), static_cast<size_t>(view.bytes())), [&] { return random(); });
  } else {
    for (int64_t r = 0; r < row_count(view); ++r) {
      std::byte* at = view.raw() + row_offset(view, r);
      for (int64_t i = 0; i < shape[-1]; ++i) {
        const auto x = static_cast<float>(normal());
        if (dtype == Dtype::f32) {
          reinterpret_cast<float*>(at)[i] = x;
        } else if (dtype == Dtype::bf16) {
          reinterpret_cast<Bf16*>(at)[i] = to_bf16(x);
        } else {
          OB_CHECK(dtype == Dtype::f16);
          reinterpret_cast<F16*>(at)[i] = to_f16(x);
        }
      }
    }
  }
  return place(std::move(whole), view, false);
}

Tensor Case::ints(const std::vector<int32_t>& v, const Shape& shape) {
  Tensor view;
  Tensor whole = region(Dtype::i32, shape, {}, &view);
  OB_CHECK(view.numel() == static_cast<int64_t>(v.size()));
  std::memcpy(view.raw(), v.data(), v.size() * sizeof(int32_t));
  return place(std::move(whole), view, false);
}

Tensor Case::ints(const std::vector<int32_t>& v) { return ints(v, {static_cast<int64_t>(v.size())}); }

Tensor Case::floats(const std::vector<float>& v) {
  Tensor view;
  Tensor whole = region(Dtype::f32, {static_cast<int64_t>(v.size())}, {}, &view);
  std::memcpy(view.raw(), v.data(), v.size() * sizeof(float));
  return place(std::move(whole), view, false);
}

Tensor Case::output(Dtype dtype, const Shape& shape, const Options& options) {
  Tensor view;
  Tensor whole = region(dtype, shape, options, &view);
  // 0xff… is a NaN in every float type and −1 as an integer. Strided rows keep red between them.
  for (int64_t r = 0; r < row_count(view); ++r) {
    std::memset(view.raw() + row_offset(view, r), 0xff, static_cast<size_t>(dtype_bytes(dtype, shape[-1])));
  }
  return place(std::move(whole), view, true);
}

Tensor Case::inout(Dtype dtype, const Shape& shape) {
  Tensor view = input(dtype, shape);
  regions_.back().is_output = true;
  return view;
}

std::vector<std::vector<double>> Case::collect() {
  std::vector<std::vector<double>> out;
  for (Region& region : regions_) {
    const Tensor after = to_host(ctx_, region.device);
    const auto changed_outside = [&](int64_t begin, int64_t end) {
      return std::memcmp(after.raw() + begin, region.before.data() + begin, static_cast<size_t>(end - begin)) != 0;
    };
    const int64_t first = region.host_view.raw() - region.whole.raw();
    if (!region.is_output && changed_outside(0, after.bytes())) {
      throw std::runtime_error("an input was written to");
    }
    if (changed_outside(0, first) || changed_outside(after.bytes() - kRedZoneBytes, after.bytes())) {
      throw std::runtime_error("a red zone was written to");
    }
    if (region.is_output) {
      out.push_back(values(region.host_view.moved_to(after.storage())));
    }
  }
  return out;
}

Tolerance f32_tolerance(int64_t length) {
  const double eps = 6e-8 * std::sqrt(static_cast<double>(length) + 1);
  return {.nmse = 16 * eps * eps + 1e-13, .worst = 64 * eps};
}

Tolerance bf16_tolerance() { return {.nmse = 2e-5, .worst = 1.2e-2}; }

std::vector<Backend> available_backends() {
  std::vector<Backend> out;
  const backend::CpuFeatures features = backend::detect_cpu_features();
  if (features.avx2) {
    out.push_back(Backend::cpu_avx2);
  }
  if (features.avx512) {
    out.push_back(Backend::cpu_avx512);
  }
  if (cuda_available()) {
    out.push_back(Backend::cuda);
  }
  return out;
}

namespace {

std::vector<std::vector<double>> run_once(Backend backend, int threads, const Body& body, const CheckOptions& options) {
  backend::ThreadPool pool(threads);
  DeviceScope device(backend);
  backend::Arena arena(device.allocator());
  ExecutionContext ctx{.backend = backend, .compute = options.compute, .pool = &pool, .arena = &arena, .cuda = device.cuda()};
  Case c(ctx, options.seed);
  body(ctx, c);
  return c.collect();
}

void compare(const std::string& where, const std::vector<double>& want, const std::vector<double>& got,
             const Tolerance& tolerance) {
  ASSERT_EQ(want.size(), got.size()) << where;
  double error = 0;
  double norm = 0;
  double largest = 0;
  double worst = 0;
  size_t worst_at = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_FALSE(std::isnan(want[i])) << where << ": the reference left NaN at " << i;
    ASSERT_FALSE(std::isnan(got[i])) << where << ": NaN at element " << i << ", wanted " << want[i];
    const double d = std::abs(got[i] - want[i]);
    error += d * d;
    norm += want[i] * want[i];
    largest = std::max(largest, std::abs(want[i]));
    if (d > worst) {
      worst = d;
      worst_at = i;
    }
  }
  const double floor = 1e-30;
  EXPECT_LE(error, tolerance.nmse * norm + floor) << where << ": NMSE " << error / (norm + floor);
  EXPECT_LE(worst, tolerance.worst * largest + 1e-15)
      << where << ": element " << worst_at << " of " << want.size();
}

}  // namespace

void check(const std::string& what, const Tolerance& tolerance, const Body& body, const CheckOptions& options) {
  const auto want = run_once(Backend::reference, 1, body, options);
  for (const Backend backend : available_backends()) {
    if (std::find(options.skip.begin(), options.skip.end(), backend) != options.skip.end()) {
      continue;
    }
    const std::string where = what + " on " + std::string(backend::to_string(backend));
    try {
      const auto got = run_once(backend, 1, body, options);
      ASSERT_EQ(want.size(), got.size()) << where;
      for (size_t i = 0; i < want.size(); ++i) {
        compare(where + ", output " + std::to_string(i), want[i], got[i], tolerance);
      }
      EXPECT_TRUE(got == run_once(backend, 1, body, options)) << where << ": a second run differs";
      EXPECT_TRUE(got == run_once(backend, 3, body, options)) << where << ": three threads differ from one";
    } catch (const std::exception& e) {
      ADD_FAILURE() << where << ": " << e.what();
    }
  }
}

}  // namespace offbook::ops::testing
