#include "src/backend/cuda/gemm.h"

#include <bit>
#include <memory>

#include "src/backend/cuda/check.h"

namespace offbook::backend {
namespace {

constexpr size_t kWorkspaceBytes =
    size_t{64} << 20;  // 32 MiB is NVIDIA's advice for Hopper; split-K takes more

void blas_check(cublasStatus_t status, const char* what) {
  OB_REQUIRE(status == CUBLAS_STATUS_SUCCESS, DeviceLost, "cuBLASLt: {}: {}", what,
             cublasLtGetStatusString(status));
}

cudaDataType_t cuda_type(Dtype dtype) {
  OB_CHECK(dtype == Dtype::f32 || dtype == Dtype::bf16);
  return dtype == Dtype::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

// Largest power of two up to 256 that divides both the address and the distance of rows.
uint32_t alignment(const void* p, int64_t ld, Dtype dtype) {
  const auto bits =
      reinterpret_cast<uintptr_t>(p) | static_cast<uintptr_t>(ld * dtype_bytes(dtype, 1)) | 256u;
  return uint32_t{1} << std::countr_zero(bits);
}

template <typename T, cublasStatus_t (*Destroy)(T)>
struct Deleter {
  void operator()(T p) const { Destroy(p); }
};
template <typename T, cublasStatus_t (*Destroy)(T)>
using Handle = std::unique_ptr<std::remove_pointer_t<T>, Deleter<T, Destroy>>;
using Desc = Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Preference = Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// cuBLASLt is column-major: a row-major [rows, cols] matrix is a column-major [cols, rows] one.
struct Layout {
  Layout(Dtype dtype, int64_t rows, int64_t cols, int64_t ld) {
    blas_check(cublasLtMatrixLayoutInit(&opaque, cuda_type(dtype), static_cast<uint64_t>(cols),
                                        static_cast<uint64_t>(rows), ld),
               "describing a matrix");
  }
  cublasLtMatrixLayout_t get() { return &opaque; }

  cublasLtMatrixLayoutOpaque_t opaque;
};

struct Layouts {
  explicit Layouts(const CudaGemmArgs& g)
      : a(g.transpose_a == Transpose::yes ? Layout(g.factor_dtype, g.k, g.m, g.lda)
                                          : Layout(g.factor_dtype, g.m, g.k, g.lda)),
        b(g.transpose_b == Transpose::yes ? Layout(g.factor_dtype, g.n, g.k, g.ldb)
                                          : Layout(g.factor_dtype, g.k, g.n, g.ldb)),
        addend(g.c_dtype, g.m, g.n, g.ld_addend),
        c(g.c_dtype, g.m, g.n, g.ldc) {}
  Layout a, b, addend, c;
};

// Rows of a pass, which may be any number, share the algorithm of the next of sixteen sizes an
// octave.
int64_t planned_size(int64_t n) {
  constexpr int64_t kExact = 1024;
  const int64_t step =
      n <= kExact ? 1 : static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(n - 1))) / 16;
  return (n + step - 1) / step * step;
}

Desc description(const CudaGemmArgs& g) {
  cublasLtMatmulDesc_t out = nullptr;
  blas_check(cublasLtMatmulDescCreate(&out, CUBLAS_COMPUTE_32F, CUDA_R_32F),
             "describing a product");
  Desc desc(out);
  // cᵀ = op(b)ᵀ op(a)ᵀ: b comes first.
  const cublasOperation_t first = g.transpose_b == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = g.transpose_a == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N;
  blas_check(cublasLtMatmulDescSetAttribute(out, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first),
             "transposing");
  blas_check(
      cublasLtMatmulDescSetAttribute(out, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second),
      "transposing");
  return desc;
}

template <typename T>
void prefer(const Preference& preference, cublasLtMatmulPreferenceAttributes_t which, T value) {
  blas_check(cublasLtMatmulPreferenceSetAttribute(preference.get(), which, &value, sizeof value),
             "setting a preference");
}

}  // namespace

struct GemmLibrary::Plan {
  Desc desc;
  cublasLtMatmulAlgo_t algorithm;
};

size_t GemmLibrary::KeyHash::operator()(const Key& key) const noexcept {
  uint64_t h = 0;
  const auto mix = [&](uint64_t value) {
    h = (h ^ value) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  };
  for (const int64_t size : {key.m, key.n, key.k, key.lda, key.ldb, key.ldc, key.ld_addend}) {
    mix(static_cast<uint64_t>(size));
  }
  mix(uint64_t{key.align_addend} << 30 | uint64_t{key.align_a} << 20 | uint64_t{key.align_b} << 10 |
      key.align_c);
  mix(static_cast<uint64_t>(key.transpose_a) << 4 | static_cast<uint64_t>(key.transpose_b) << 3 |
      static_cast<uint64_t>(key.factor_dtype) << 16 | static_cast<uint64_t>(key.c_dtype) << 8 |
      (key.adds ? 1u : 0u));
  return h;
}

GemmLibrary::GemmLibrary() {
  cuda_check(cudaMalloc(&workspace_, kWorkspaceBytes), "the 64 MiB workspace of cuBLASLt");
  const cublasStatus_t status = cublasLtCreate(&handle_);
  if (status != CUBLAS_STATUS_SUCCESS) {
    cudaFree(workspace_);
    blas_check(status, "opening the library");
  }
}

GemmLibrary::~GemmLibrary() {
  cublasLtDestroy(handle_);
  cudaFree(workspace_);
}

const GemmLibrary::Plan& GemmLibrary::plan_for(const CudaGemmArgs& g) {
  const Key key{g.m,
                g.n,
                g.k,
                g.lda,
                g.ldb,
                g.ldc,
                g.ld_addend,
                alignment(g.a, g.lda, g.factor_dtype),
                alignment(g.b, g.ldb, g.factor_dtype),
                alignment(g.c, g.ldc, g.c_dtype),
                alignment(g.addend, g.ld_addend, g.c_dtype),
                g.transpose_a,
                g.transpose_b,
                g.factor_dtype,
                g.c_dtype,
                g.beta != 0};
  const auto found = plans_.find(key);
  if (found != plans_.end()) {
    return found->second;
  }
  Plan plan{description(g), {}};
  cublasLtMatmulPreference_t raw = nullptr;
  blas_check(cublasLtMatmulPreferenceCreate(&raw), "making preferences");
  const Preference preference(raw);
  prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.align_b);
  prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.align_a);
  prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.align_addend);
  prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.align_c);
  Layouts layouts(g);
  cublasLtMatmulHeuristicResult_t best{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_, plan.desc.get(), layouts.b.get(), layouts.a.get(), layouts.addend.get(),
      layouts.c.get(), preference.get(), 1, &best, &count);
  OB_REQUIRE(status == CUBLAS_STATUS_SUCCESS && count == 1, Unsupported,
             "cuBLASLt has no algorithm for {} [{}, {}] x [{}, {}] to {}: {}",
             dtype_info(g.factor_dtype).name, g.m, g.k, g.k, g.n, dtype_info(g.c_dtype).name,
             cublasLtGetStatusString(status));
  plan.algorithm = best.algo;
  return plans_.emplace(key, std::move(plan)).first->second;
}

void GemmLibrary::run(const CudaGemmArgs& args, cudaStream_t stream) {
  if (args.m == 0 || args.n == 0) {
    return;
  }
  OB_CHECK(args.k > 0);
  CudaGemmArgs g = args;
  if (g.addend == nullptr) {
    g.addend = g.c;
    g.ld_addend = g.ldc;
  }
  CudaGemmArgs planned = g;
  // Where a stands transposed, the gradient of a weight is asked for, and rows are what is summed
  // over.
  int64_t& rows = g.transpose_a == Transpose::yes ? planned.k : planned.m;
  rows = planned_size(rows);
  const Plan& plan = plan_for(planned);
  Layouts layouts(g);
  blas_check(cublasLtMatmul(handle_, plan.desc.get(), &g.alpha, g.b, layouts.b.get(), g.a,
                            layouts.a.get(), &g.beta, g.addend, layouts.addend.get(), g.c,
                            layouts.c.get(), &plan.algorithm, workspace_, kWorkspaceBytes, stream),
             "queueing a product");
}

}  // namespace offbook::backend
