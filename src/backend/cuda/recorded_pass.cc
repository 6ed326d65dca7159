#include "src/backend/recorded_pass.h"

#include "src/backend/cuda/check.h"
#include "src/backend/cuda/state.h"

namespace offbook::backend {
namespace {

class CudaPass final : public RecordedPass {
 public:
  CudaPass(CudaState& state, cudaGraph_t graph) : state_(state) {
    const cudaError_t code = cudaGraphInstantiate(&ready_, graph, 0);
    cudaGraphDestroy(graph);
    cuda_check(code, "making a graph of a pass");
  }
  ~CudaPass() override { cudaGraphExecDestroy(ready_); }

  void run() override {
    cudaGraphLaunch(ready_, state_.stream.get());
    state_.launched("a recorded pass");
  }

 private:
  CudaState& state_;
  cudaGraphExec_t ready_ = nullptr;
};

// A recorded pass is inference: no kernel in flight writes a weight when it runs, so products may
// read theirs before the kernel in front of them is done.
class SettledWeights {
 public:
  explicit SettledWeights(CudaState& state) : state_(state), before_(state.weights_are_settled) {
    state_.weights_are_settled = true;
  }
  ~SettledWeights() { state_.weights_are_settled = before_; }
  SettledWeights(const SettledWeights&) = delete;
  SettledWeights& operator=(const SettledWeights&) = delete;

 private:
  CudaState& state_;
  bool before_;
};

}  // namespace

std::unique_ptr<RecordedPass> record_pass(const ExecutionContext& ctx,
                                          const std::function<void()>& work) {
  if (ctx.cuda == nullptr) {
    return nullptr;
  }
  const SettledWeights settled(*ctx.cuda);
  const cudaStream_t stream = ctx.cuda->stream.get();
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a pass");
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  cuda_check(cudaStreamEndCapture(stream, &graph), "recording a pass");
  return std::make_unique<CudaPass>(*ctx.cuda, graph);
}

}  // namespace offbook::backend
