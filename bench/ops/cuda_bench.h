// Times operations on a GPU, each as a replayed CUDA graph, beside the limits of the same run.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "src/backend/cuda/allocator.h"
#include "src/backend/cuda/state.h"
#include "src/ops/registry.h"

namespace offbook::bench {

class CudaBench {
 public:
  // Runs only cases whose name contains `filter`.
  explicit CudaBench(std::string filter);

  // Measures copy bandwidth (bytes read + written) and the rate of a bf16 8192³ product, and prints
  // both.
  void measure_limits();

  // What a case must move and compute at least.
  struct Work {
    double bytes = 0;
    double flops = 0;
  };
  // Runs body(i) for i = 0, 1, … (so that it can take another weight each time), prints a line with
  // the median time of one body, its rate, and its share of the limit.
  void run(const std::string& name, const Work& work, const std::function<void(int)>& body);
  bool wants(const std::string& name) const { return name.find(filter_) != std::string::npos; }

  // Random tensors on the device: normal values for floats, random blocks with small scales else.
  Tensor random(Dtype dtype, const Shape& shape);
  Tensor uninitialised(Dtype dtype, const Shape& shape);
  Tensor ints(const std::vector<int32_t>& values, const Shape& shape);
  // How many copies of `bytes` make repeated runs miss the caches.
  int copies_for(double bytes) const;

  const ops::ExecutionContext& context() const { return context_; }
  ops::ExecutionContext& context() { return context_; }
  // Forgets the tensors of the case before.
  void next_group() { allocator_.trim(); }

 private:
  // Random blocks of a type, made once.
  const std::vector<std::byte>& pattern(Dtype dtype);
  double copy_bandwidth();
  double median_us(const std::function<void(int)>& body);

  std::string filter_;
  std::map<Dtype, std::vector<std::byte>> patterns_;
  backend::CudaAllocator allocator_;
  backend::CudaState state_;
  backend::Arena arena_;
  ops::ExecutionContext context_;
  double copy_gbs_ = 0;
  double product_tflops_ = 0;
};

// The cases: shapes of LLaMA2-7B, Llama-3.1-8B and SmolLM2-135M.
// All products, attention and small operations of one token, layer after layer.
void run_decode_steps(CudaBench& bench);
void run_products(CudaBench& bench);
void run_attention(CudaBench& bench);
void run_decode_attention(CudaBench& bench);
void run_elementwise(CudaBench& bench);
void run_training(CudaBench& bench);

}  // namespace offbook::bench
