#include "src/backend/cuda/state.h"
#include "src/backend/cuda_transfer.h"

namespace offbook::backend {

void cuda_upload(const ExecutionContext& ctx, std::span<const std::byte> from, const Tensor& to) {
  ctx.cuda->copy_in(to.raw(), from.data(), from.size());
}

void cuda_download(const ExecutionContext& ctx, const Tensor& from, std::span<std::byte> to) {
  ctx.cuda->copy_out(to.data(), from.raw(), to.size());
  ctx.cuda->wait();
}

}  // namespace offbook::backend
