// Bytes between host memory and the device of a context.
#pragma once
#include <cstddef>
#include <span>

#include "src/backend/context.h"

namespace offbook::backend {

// Fills a contiguous tensor on ctx's device; the host bytes may be reused on return.
void upload(const ExecutionContext& ctx, std::span<const std::byte> from, const Tensor& to);

// Waits for the work in flight and copies a contiguous tensor to the host.
void download(const ExecutionContext& ctx, const Tensor& from, std::span<std::byte> to);

// A tensor of ctx's device with the content of a contiguous tensor: the tensor itself where it lies
// there already, else a copy that owns its memory.
Tensor to_device(const ExecutionContext& ctx, const Tensor& host);

// Bytes that ctx's device can still give this process, its limit and what it keeps considered; the
// largest number on the CPU, whose memory is not asked for.
size_t free_bytes(const ExecutionContext& ctx);

}  // namespace offbook::backend
