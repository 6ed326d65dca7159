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

}  // namespace

std::unique_ptr<RecordedPass> record_pass(const ExecutionContext& ctx,
                                          const std::function<void()>& work) {
  if (ctx.cuda == nullptr) {
    return nullptr;
  }
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
