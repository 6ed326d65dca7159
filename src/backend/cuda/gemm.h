// Matrix products through cuBLASLt, with the algorithm chosen once for each shape.
#pragma once
#include <cstdint>
#include <unordered_map>

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "src/tensor/dtype.h"

namespace offbook::backend {

enum class Transpose : uint8_t { no, yes };

// Row-major: c [m, n] = alpha · op(a) [m, k] op(b) [k, n] + beta · c, or + beta · addend where
// there is one. Rows lie ld elements apart. a and b are both f32 (multiplied exactly, never in
// tf32) or both bf16; c is f32, or bf16 when they are; sums are f32.
struct CudaGemmArgs {
  const void* a = nullptr;
  const void* b = nullptr;
  void* c = nullptr;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  int64_t lda = 0;
  int64_t ldb = 0;
  int64_t ldc = 0;
  Transpose transpose_a = Transpose::no;  // yes: a is stored [k, m]
  Transpose transpose_b = Transpose::no;  // yes: b is stored [n, k], as the weight of `linear` is
  Dtype factor_dtype = Dtype::bf16;
  Dtype c_dtype = Dtype::bf16;
  float alpha = 1.0f;
  float beta = 0.0f;
  const void* addend = nullptr;  // of c's type
  int64_t ld_addend = 0;
};

// Not thread-safe. Same bits for the same arguments on the same GPU and library.
class GemmLibrary {
 public:
  GemmLibrary();
  ~GemmLibrary();
  GemmLibrary(const GemmLibrary&) = delete;
  GemmLibrary& operator=(const GemmLibrary&) = delete;

  // Queues the product. Throws Unsupported with the shape when the library has no algorithm for it.
  void run(const CudaGemmArgs& args, cudaStream_t stream);

  size_t shapes_known() const noexcept { return plans_.size(); }

 private:
  struct Key;
  struct KeyHash {
    size_t operator()(const Key& key) const noexcept;
  };
  struct Key {
    int64_t m, n, k, lda, ldb, ldc, ld_addend;
    uint32_t align_a, align_b, align_c, align_addend;
    Transpose transpose_a, transpose_b;
    Dtype factor_dtype, c_dtype;
    bool adds;
    bool operator==(const Key&) const = default;
  };
  struct Plan;

  const Plan& plan_for(const CudaGemmArgs& args);

  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::unordered_map<Key, Plan, KeyHash> plans_;
};

}  // namespace offbook::backend
