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

// A tensor of ctx's device with the content of a contiguous CPU tensor: the tensor itself on the CPU,
// else a copy that owns its memory.
Tensor to_device(const ExecutionContext& ctx, const Tensor& host);

}  // namespace offbook::backend
