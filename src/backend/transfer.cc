#include "src/backend/transfer.h"

#include <cstring>

#include "src/backend/cuda_transfer.h"
#include "src/base/error.h"

namespace offbook::backend {

void upload(const ExecutionContext& ctx, std::span<const std::byte> from, const Tensor& to) {
  OB_CHECK(static_cast<int64_t>(from.size()) == to.bytes());
  if (from.empty()) {
    return;
  }
  if (ctx.device() == Device::cuda) {
    cuda_upload(ctx, from, to);
  } else {
    std::memcpy(to.raw(), from.data(), from.size());
  }
}

void download(const ExecutionContext& ctx, const Tensor& from, std::span<std::byte> to) {
  OB_CHECK(static_cast<int64_t>(to.size()) == from.bytes());
  if (to.empty()) {
    return;
  }
  if (ctx.device() == Device::cuda) {
    cuda_download(ctx, from, to);
  } else {
    std::memcpy(to.data(), from.raw(), to.size());
  }
}

Tensor to_device(const ExecutionContext& ctx, const Tensor& host) {
  if (!host.defined() || host.device() == ctx.device()) {
    return host;
  }
  OB_CHECK(host.device() == Device::cpu);
  const Tensor whole(ctx.arena->allocator().allocate(static_cast<size_t>(host.bytes())), host.dtype(), host.shape());
  upload(ctx, {host.raw(), static_cast<size_t>(host.bytes())}, whole);
  return whole;
}

size_t free_bytes(const ExecutionContext& ctx) {
  return ctx.arena->allocator().free_bytes();
}

}  // namespace offbook::backend
