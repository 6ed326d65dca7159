// A pass as one launch: its kernels are recorded once and sent to the GPU together from then on.
#pragma once
#include <functional>
#include <memory>

#include "src/backend/context.h"

namespace offbook::backend {

class RecordedPass {
 public:
  virtual ~RecordedPass() = default;
  // Queues the pass again, on the same memory; what it reads may have changed since.
  virtual void run() = 0;
};

// Records what `work` queues on ctx's stream, without running it; null on a CPU. `work` must have
// run before (nothing may be allocated while it is recorded) and must not wait for the device or
// touch host memory. Tensors it uses must stay where they are. Errors of `work` end the recording.
std::unique_ptr<RecordedPass> record_pass(const ExecutionContext& ctx,
                                          const std::function<void()>& work);

}  // namespace offbook::backend
