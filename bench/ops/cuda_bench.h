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
  // Runs only cases whose name contains one of `filters`; all when there are none.
  explicit CudaBench(std::vector<std::string> filters);

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
  // The same for a body of seconds, which runs once to warm up and twice to be timed, without a
  // graph; prints `tokens` a second too when there are any. Returns the milliseconds of the better
  // run, or 0.
  double run_long(const std::string& name, const Work& work, double tokens,
                  const std::function<void()>& body);
  // True for a group of cases too, when a filter is the name of one of them.
  bool wants(const std::string& name) const;
  // The elements of a bf16 tensor, on the host.
  std::vector<float> values(const Tensor& t);

  // Random tensors on the device: normal values for floats, random blocks with small scales else
  // (whatever the deviation).
  Tensor random(Dtype dtype, const Shape& shape, float deviation = 1.0f);
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
  const std::vector<std::byte>& pattern(Dtype dtype, float deviation);
  double copy_bandwidth();
  double median_us(const std::function<void(int)>& body);

  void print(const std::string& name, const Work& work, double us) const;

  std::vector<std::string> filters_;
  std::map<std::pair<Dtype, float>, std::vector<std::byte>> patterns_;
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
// All layers over many tokens: prefill, and the forward pass of a compressor.
void run_passes(CudaBench& bench);

inline double bytes_of(const Tensor& t) {
  return static_cast<double>(t.bytes());
}
inline std::string short_name(Dtype dtype) {
  return std::string(dtype_info(dtype).name);
}

// The shapes of the models.
struct Heads {
  const char* model;
  int64_t heads;
  int64_t kv_heads;
  int64_t dim;
};
inline constexpr Heads kLlama2{"LLaMA2-7B", 32, 32, 128};
inline constexpr Heads kLlama3{"Llama-3.1-8B", 32, 8, 128};
inline constexpr Heads kSmol{"SmolLM2", 9, 3, 64};
struct Decoder {
  Heads heads;
  int64_t hidden;
  int64_t feed_forward;
  int64_t vocab;
  int layers;
};
inline constexpr Decoder kLlama2Decoder{kLlama2, 4096, 11008, 32000, 32};
inline constexpr Decoder kLlama3Decoder{kLlama3, 4096, 14336, 128256, 32};
inline constexpr Decoder kSmolDecoder{kSmol, 576, 1536, 49152, 30};

}  // namespace offbook::bench
