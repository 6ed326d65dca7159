// Adapters between host and device.
#pragma once
#include "src/backend/context.h"
#include "src/model/import/lora_adapter.h"

namespace offbook::model {

// The adapter with its factors on ctx's device, all in one block of its own (an optimizer's step
// over them is then one launch); the adapter itself, sharing its tensors, where all lie there already.
LoraAdapter on_device(const backend::ExecutionContext& ctx, const LoraAdapter& adapter);

// A copy of an adapter on the CPU with all factors in one block on ctx's device, those that read the
// same input next to one another.
LoraAdapter in_one_block(const backend::ExecutionContext& ctx, const LoraAdapter& adapter);

// Copies of the factors on the CPU; the adapter itself where they lie there. Waits for the device.
LoraAdapter on_host(const backend::ExecutionContext& ctx, const LoraAdapter& adapter);

// A tensor's copy on the CPU; the tensor itself where it lies there.
Tensor on_host(const backend::ExecutionContext& ctx, const Tensor& t);

}  // namespace offbook::model
