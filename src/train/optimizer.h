// Trainable tensors and the step that changes them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "src/autograd/tape.h"

namespace offbook::train {

// One trainable tensor with everything AdamW keeps of it. All f32, contiguous, of one shape, on the
// device of the run.
struct Parameter {
  std::string name;  // unique; keys of checkpoints
  Tensor value;
  Tensor grad;
  Tensor m;
  Tensor v;
  float lr_scale = 1;  // × the scheduled rate
  // What passes read and a tape is to watch, where that is not `value` itself: a copy of another
  // type, made anew whenever `value` changed. Undefined: none.
  Tensor working;

  const Tensor& watched() const { return working.defined() ? working : value; }
};

// Gradient and moments cleared. `value` is shared, not copied: it is trained in place.
Parameter make_parameter(const backend::ExecutionContext& ctx, std::string name,
                         const Tensor& value);

struct NamedTensor {
  std::string name;
  Tensor value;
};
// A parameter each. Where values lie side by side in one storage, as those of an adapter on a GPU
// do, gradients and moments do so too, and a step over them is one launch instead of one a tensor.
std::vector<Parameter> make_parameters(const backend::ExecutionContext& ctx,
                                       const std::vector<NamedTensor>& values);

// Parameters of weights that are trained in place; of those that are not f32, values are f32 copies
// and the weights themselves are what passes read.
std::vector<Parameter> make_master_parameters(const backend::ExecutionContext& ctx,
                                              const std::vector<NamedTensor>& weights);

// Copies values to what passes read of them.
void refresh_working(const backend::ExecutionContext& ctx,
                     const std::vector<Parameter>& parameters);

// Stretches of parameters that lie behind one another in all four storages, each as one flat
// parameter named after its first: what a step runs over, and what a tape is to watch. In the order
// of the parameters where they lie apart.
std::vector<Parameter> runs_of(const std::vector<Parameter>& parameters);

struct AdamwOptions {
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float eps = 1e-8f;
  float weight_decay = 0;
  float clip_norm = 1;  // of all gradients together; 0: no clipping
};

// Gradients × grad_scale are clipped, applied at `lr` and cleared. `step` counts from 1. Returns
// the norm before clipping; when it is not finite nothing is changed but the gradients, which are
// cleared.
double adamw_step(const backend::ExecutionContext& ctx, std::vector<Parameter>& parameters,
                  const AdamwOptions& options, float lr, int64_t step, float grad_scale);

// Linear warm-up over `warmup` steps, then a cosine from lr down to lr × floor at `steps`. step
// from 1.
float cosine_rate(float lr, int64_t step, int64_t steps, int64_t warmup, float floor);

}  // namespace offbook::train
