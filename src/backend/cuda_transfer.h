// The CUDA half of transfer.h: cuda/transfer.cc with OB_CUDA, no_cuda.cc without.
#pragma once
#include "src/backend/transfer.h"

namespace offbook::backend {

void cuda_upload(const ExecutionContext& ctx, std::span<const std::byte> from, const Tensor& to);
void cuda_download(const ExecutionContext& ctx, const Tensor& from, std::span<std::byte> to);

}  // namespace offbook::backend
