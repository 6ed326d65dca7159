// The attention kernels, by what they can take: `any` every type, size and stride in f32
// arithmetic; `flash` bf16 heads of 64 or 128 through the tensor cores; cuDNN the same heads
// without a window, on Hopper and newer, where it is installed.
#pragma once
#include "src/ops/attention/keys_cuda.cuh"

namespace offbook::ops::cuda {

// What a forward kernel reads and writes, for packed or paged keys.
template <class Keys>
struct ForwardPass {
  Tensor q;
  Tensor k;  // pages for PagedKeys
  Tensor v;
  Tensor out;
  Keys keys;
  AttentionShape shape;
  int sequences;
  int max_length;
  int skip_rows;  // sequences of at most so many queries are left to another kernel
};

template <class Keys>
void attention_any(const ExecutionContext& ctx, const ForwardPass<Keys>& pass);

bool flash_fits(const ExecutionContext& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                const Tensor& out);
template <class Keys>
void attention_flash(const ExecutionContext& ctx, const ForwardPass<Keys>& pass);

// False, with nothing queued, where cuDNN does not take the pass.
bool attention_cudnn(const ExecutionContext& ctx, const AttentionArgs& args);
bool attention_backward_cudnn(const ExecutionContext& ctx, const AttentionBackwardArgs& args);
// Sequences with at most `skip_rows` queries · group are left out.
bool paged_attention_cudnn(const ExecutionContext& ctx, const PagedAttentionArgs& args,
                           int skip_rows);

void attention_backward_any(const ExecutionContext& ctx, const AttentionBackwardArgs& args,
                            const Tensor& delta);
void attention_backward_flash(const ExecutionContext& ctx, const AttentionBackwardArgs& args,
                              const Tensor& delta);

}  // namespace offbook::ops::cuda
