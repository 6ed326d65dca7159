// Logits of narrow models that never leave the registers: [128 rows of hidden] stay in shared
// memory while tiles of the head stream past them through the tensor cores.
#pragma once
#include "src/ops/registry.h"

namespace offbook::ops::cuda {

// Whether the kernels take these factors: bf16, sm_90, a width they are compiled for.
bool logits_fit(const ExecutionContext& ctx, const Tensor& hidden, const Tensor& head);

// Of every row: lse[r] = log Σ exp(logits), target_logit[r] (untouched for targets outside the
// vocabulary). False when the kernel could not be set up; nothing is queued then.
bool logits_forward(const ExecutionContext& ctx, const LinearCrossEntropyArgs& args, float* lse,
                    float* target_logit);

// gradients [rows, vocab], bf16, rows of whole eights: d_loss · (softmax − onehot) of the rows that
// `args` holds.
bool logits_backward(const ExecutionContext& ctx, const LinearCrossEntropyArgs& args,
                     const float* d_losses, const Tensor& gradients);

}  // namespace offbook::ops::cuda
