// Runs an operation on every backend of this machine against the reference, with the same random
// inputs, inside red zones.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/ops/registry.h"

namespace offbook::ops::testing {

// One run of an operation: makes its tensors. The same calls in the same order give the same values
// on every backend.
class Case {
 public:
  Case(ExecutionContext& ctx, uint64_t seed);

  struct Options {
    float scale = 1.0f;     // standard deviation
    bool strided = false;   // rows lie in a wider tensor
    bool misaligned = false;  // first element one element off any alignment
  };
  // Normally distributed values, rounded to dtype; quantised types get random blocks with finite scales.
  Tensor input(Dtype dtype, const Shape& shape, const Options& options);
  Tensor input(Dtype dtype, const Shape& shape) { return input(dtype, shape, Options{}); }
  Tensor ints(const std::vector<int32_t>& values);
  Tensor ints(const std::vector<int32_t>& values, const Shape& shape);
  Tensor floats(const std::vector<float>& values);  // f32 [n]
  // Filled with NaN, in red zones; compared with the reference's after the run.
  Tensor output(Dtype dtype, const Shape& shape, const Options& options);
  Tensor output(Dtype dtype, const Shape& shape) { return output(dtype, shape, Options{}); }
  // An output whose content counts (added to, updated): random values.
  Tensor inout(Dtype dtype, const Shape& shape);
  uint64_t random();

  // Values of all outputs so far as doubles, brought to the host; throws std::runtime_error when a red
  // zone or an input was written.
  std::vector<std::vector<double>> collect();

 private:
  struct Region {
    Tensor whole;   // host copy, with red zones
    Tensor device;  // where the operation works
    Tensor view;    // the tensor inside `device`
    Tensor host_view;
    bool is_output;
    std::vector<std::byte> before;
  };
  Tensor place(Tensor host_whole, const Tensor& host_view, bool is_output);
  Tensor region(Dtype dtype, const Shape& shape, const Options& options, Tensor* view);

  ExecutionContext& ctx_;
  uint64_t state_;
  std::vector<Region> regions_;
};

// Normalised squared error and worst element allowed against the reference.
struct Tolerance {
  double nmse = 1e-10;
  double worst = 1e-4;  // absolute, relative to the reference's largest magnitude
};
// f32 sums of `length` products / results rounded to bf16.
Tolerance f32_tolerance(int64_t length);
Tolerance bf16_tolerance();

using Body = std::function<void(ExecutionContext&, Case&)>;

struct CheckOptions {
  Compute compute = Compute::f32;
  uint64_t seed = 1;
  std::vector<Backend> skip;  // with a reason at the call
};
// Runs body on the reference and every backend here; gtest failures name backend, output and element.
// Each backend runs twice and with 1 and 3 threads: the bits must be the same.
void check(const std::string& what, const Tolerance& tolerance, const Body& body, const CheckOptions& options);
inline void check(const std::string& what, const Tolerance& tolerance, const Body& body) {
  check(what, tolerance, body, CheckOptions{});
}

// Backends that run here, without the reference.
std::vector<Backend> available_backends();

}  // namespace offbook::ops::testing
