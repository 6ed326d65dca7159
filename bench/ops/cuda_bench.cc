// usage: cuda_bench [part of a case's name]…
#include "bench/ops/cuda_bench.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "src/backend/cuda/check.h"
#include "src/backend/cuda/sdpa.h"
#include "src/backend/transfer.h"
#include "src/base/float16.h"

namespace offbook::bench {

using backend::cuda_check;

CudaBench::CudaBench(std::vector<std::string> filters)
    : filters_(std::move(filters)), arena_(allocator_) {
  context_ = {.backend = ops::Backend::cuda,
              .compute = ops::Compute::bf16,
              .arena = &arena_,
              .cuda = &state_};
  state_.weights_are_settled = true;
  std::printf("%s, driver %d, runtime %d\n", state_.device.name.c_str(),
              state_.device.driver_version, state_.device.runtime_version);
  const backend::SdpaLibrary& sdpa = state_.sdpa();
  std::printf("cuDNN: %s\n", sdpa.why_unavailable().empty() ? std::to_string(sdpa.version()).c_str()
                                                            : sdpa.why_unavailable().c_str());
}

bool CudaBench::wants(const std::string& name) const {
  return filters_.empty() || std::ranges::any_of(filters_, [&](const std::string& part) {
           return name.find(part) != std::string::npos || part.starts_with(name + " ");
         });
}

std::vector<float> CudaBench::values(const Tensor& t) {
  std::vector<Bf16> raw(static_cast<size_t>(t.numel()));
  backend::download(context_, t, std::as_writable_bytes(std::span(raw)));
  std::vector<float> out(raw.size());
  std::transform(raw.begin(), raw.end(), out.begin(), [](Bf16 x) { return to_float(x); });
  return out;
}

Tensor CudaBench::uninitialised(Dtype dtype, const Shape& shape) {
  const int64_t bytes =
      dtype_bytes(dtype, shape[-1]) * (shape.numel() / std::max<int64_t>(shape[-1], 1));
  return Tensor(allocator_.allocate(static_cast<size_t>(bytes)), dtype, shape);
}

Tensor CudaBench::ints(const std::vector<int32_t>& values, const Shape& shape) {
  const Tensor out = uninitialised(Dtype::i32, shape);
  backend::upload(context_, std::as_bytes(std::span(values)), out);
  return out;
}

const std::vector<std::byte>& CudaBench::pattern(Dtype dtype, float deviation) {
  std::vector<std::byte>& out = patterns_[{dtype, deviation}];
  if (!out.empty()) {
    return out;
  }
  const DtypeInfo& info = dtype_info(dtype);
  constexpr size_t kBlocks = 1000003;  // a prime: no row of a matrix repeats another
  out.resize(kBlocks * static_cast<size_t>(info.block_bytes));
  uint64_t state = 88172645463325252ull;
  const auto next = [&] {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
  };
  for (size_t at = 0; at < out.size(); at += static_cast<size_t>(info.block_bytes)) {
    if (is_float(dtype)) {
      const double u = static_cast<double>(next() >> 11) * 0x1p-53;
      const double v = static_cast<double>(next() >> 11) * 0x1p-53;
      const auto x = deviation * static_cast<float>(std::sqrt(-2 * std::log(u + 1e-12)) *
                                                    std::cos(6.283185307 * v));
      const Bf16 half = to_bf16(x);
      std::memcpy(&out[at], dtype == Dtype::f32 ? static_cast<const void*>(&x) : &half,
                  static_cast<size_t>(info.block_bytes));
      continue;
    }
    for (int i = 0; i < info.block_bytes; ++i) {
      out[at + static_cast<size_t>(i)] = static_cast<std::byte>(next() >> 40);
    }
    const F16 scale = to_f16(0.01f);
    const size_t first = dtype == Dtype::q6_k ? 208 : 0;
    std::memcpy(&out[at + first], &scale, 2);
    if (dtype == Dtype::q4_1) {
      std::memcpy(&out[at + 2], &scale, 2);
    }
  }
  return out;
}

Tensor CudaBench::random(Dtype dtype, const Shape& shape, float deviation) {
  const Tensor out = uninitialised(dtype, shape);
  const std::vector<std::byte>& source = pattern(dtype, deviation);
  const auto total = static_cast<size_t>(out.bytes());
  const size_t first = std::min(total, source.size());
  state_.copy_in(out.raw(), source.data(), first);
  for (size_t done = first; done < total; done *= 2) {
    cuda_check(cudaMemcpyAsync(out.raw() + done, out.raw(), std::min(done, total - done),
                               cudaMemcpyDeviceToDevice, state_.stream.get()),
               "repeating a pattern");
  }
  state_.wait();
  return out;
}

int CudaBench::copies_for(double bytes) const {
  const double enough = 4.0 * static_cast<double>(state_.device.l2_bytes);
  return static_cast<int>(std::clamp(std::ceil(enough / bytes), 1.0, 64.0));
}

double CudaBench::median_us(const std::function<void(int)>& body) {
  cudaStream_t stream = state_.stream.get();
  backend::CudaEvent begin, end;
  body(0);
  state_.wait();
  begin.record(stream);
  body(0);
  end.record(stream);
  end.wait();
  const int repeats =
      std::clamp(static_cast<int>(4.0f / std::max(end.ms_since(begin), 1e-3f)), 1, 64);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning a graph");
  for (int i = 0; i < repeats; ++i) {
    body(i);
  }
  cuda_check(cudaStreamEndCapture(stream, &graph), "ending a graph");
  cuda_check(cudaGraphInstantiate(&replay, graph, 0), "making a graph");
  std::vector<double> times;
  for (int i = 0; i < 7; ++i) {
    begin.record(stream);
    cuda_check(cudaGraphLaunch(replay, stream), "launching a graph");
    end.record(stream);
    end.wait();
    times.push_back(static_cast<double>(end.ms_since(begin)) * 1e3 / repeats);
  }
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  std::nth_element(times.begin(), times.begin() + 3, times.end());
  return times[3];
}

void CudaBench::print(const std::string& name, const Work& work, double us) const {
  const double gbs = work.bytes / us * 1e-3;
  const double tflops = work.flops / us * 1e-6;
  const double byte_share = copy_gbs_ > 0 ? gbs / copy_gbs_ : 0;
  const double flop_share = product_tflops_ > 0 ? tflops / product_tflops_ : 0;
  if (byte_share >= flop_share) {
    std::printf("%-58s %10.2f us %8.0f GB/s    %5.1f%% of copy\n", name.c_str(), us, gbs,
                100 * byte_share);
  } else {
    std::printf("%-58s %10.2f us %8.1f TFLOP/s %5.1f%% of product\n", name.c_str(), us, tflops,
                100 * flop_share);
  }
}

double CudaBench::run_long(const std::string& name, const Work& work, double tokens,
                           const std::function<void()>& body) {
  if (!wants(name)) {
    return 0;
  }
  try {
    body();
    state_.wait();
    backend::CudaEvent begin, end;
    double best = 0;
    for (int i = 0; i < 2; ++i) {
      begin.record(state_.stream.get());
      body();
      end.record(state_.stream.get());
      end.wait();
      const auto ms = static_cast<double>(end.ms_since(begin));
      best = i == 0 ? ms : std::min(best, ms);
    }
    print(name, work, best * 1e3);
    std::printf("%-58s %10.2f ms %8.0f tokens/s\n", "", best, tokens / best * 1e3);
    std::fflush(stdout);
    return best;
  } catch (const Error& e) {
    std::printf("%-58s failed: %s\n", name.c_str(), e.what());
    return 0;
  }
}

void CudaBench::run(const std::string& name, const Work& work,
                    const std::function<void(int)>& body) {
  if (!wants(name)) {
    return;
  }
  try {
    const double us = median_us(body);
    print(name, work, us);
  } catch (const Error& e) {
    std::printf("%-58s failed: %s\n", name.c_str(), e.what());
  }
  std::fflush(stdout);
}

// The better of our copy kernel and the driver's: which one leads differs between machines.
double CudaBench::copy_bandwidth() {
  const int64_t bytes = int64_t{4} << 30;
  const Tensor from = random(Dtype::f32, {bytes / 4});
  const Tensor to = uninitialised(Dtype::f32, {bytes / 4});
  double us = median_us([&](int) { ops::copy(context_, {.x = from, .out = to}); });
  backend::CudaEvent begin, end;
  for (int i = 0; i < 5; ++i) {
    begin.record(state_.stream.get());
    cuda_check(cudaMemcpyAsync(to.raw(), from.raw(), static_cast<size_t>(bytes),
                               cudaMemcpyDeviceToDevice, state_.stream.get()),
               "copying");
    end.record(state_.stream.get());
    end.wait();
    us = std::min(us, static_cast<double>(end.ms_since(begin)) * 1e3);
  }
  return 2.0 * static_cast<double>(bytes) / us * 1e-3;
}

void CudaBench::measure_limits() {
  copy_gbs_ = copy_bandwidth();
  const int64_t n = 8192;
  const Tensor a = random(Dtype::bf16, {n, n});
  const Tensor b = random(Dtype::bf16, {n, n});
  const Tensor c = uninitialised(Dtype::bf16, {n, n});
  const double us = median_us([&](int) { ops::linear(context_, {.x = a, .weight = b, .out = c}); });
  product_tflops_ = 2.0 * static_cast<double>(n * n * n) / us * 1e-6;
  std::printf("limits: copy %.0f GB/s, bf16 8192^3 product %.0f TFLOP/s\n", copy_gbs_,
              product_tflops_);
  std::fflush(stdout);
}

}  // namespace offbook::bench

int main(int argc, char** argv) {
  try {
    offbook::bench::CudaBench bench({argv + 1, argv + argc});
    bench.measure_limits();
    for (const auto& group : {offbook::bench::run_decode_steps,
                              offbook::bench::run_decode_attention, offbook::bench::run_products,
                              offbook::bench::run_attention, offbook::bench::run_elementwise,
                              offbook::bench::run_training, offbook::bench::run_passes}) {
      bench.next_group();
      group(bench);
    }
    const offbook::backend::SdpaLibrary& sdpa = bench.context().cuda->sdpa();
    std::printf("cuDNN: %zu plans in %.2f s\n", sdpa.plans_made(), sdpa.seconds_planning());
    for (const std::string& why : sdpa.refusals()) {
      std::printf("cuDNN refused: %s\n", why.c_str());
    }
    return 0;
  } catch (const offbook::Error& e) {
    std::fprintf(stderr, "cuda_bench: %s\n", e.what());
    return static_cast<int>(e.code());
  }
}
