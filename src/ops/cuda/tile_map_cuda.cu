#include "src/ops/cuda/wgmma.cuh"

namespace offbook::ops::cuda {
namespace {

// The driver's function through the runtime, so that nothing links to libcuda.
auto encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const cudaError_t code = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                            12000, cudaEnableDefault, &found);
  const bool works = code == cudaSuccess && found == cudaDriverEntryPointSuccess;
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(works ? function : nullptr);
}

}  // namespace

bool make_tile_map(const Tensor& t, int tile_rows, CUtensorMap* map) {
  static const auto encode = encode_function();
  OB_CHECK(t.dtype() == Dtype::bf16 && t.rank() == 2);
  if (encode == nullptr || t.numel() == 0 || t.stride(0) * 2 % 16 != 0 ||
      reinterpret_cast<uintptr_t>(t.raw()) % 16 != 0) {
    return false;
  }
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(t.dim(1)),
                               static_cast<cuuint64_t>(t.dim(0))};
  const cuuint64_t row_bytes[1] = {static_cast<cuuint64_t>(t.stride(0)) * 2};
  const cuuint32_t tile[2] = {kTileColumns, static_cast<cuuint32_t>(tile_rows)};
  const cuuint32_t steps[2] = {1, 1};
  return encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, t.raw(), sizes, row_bytes, tile, steps,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace offbook::ops::cuda
