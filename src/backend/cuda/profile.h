// Device times of operations, by events on the stream.
#pragma once
#include <map>
#include <memory>

#include "src/backend/cuda/state.h"
#include "src/backend/op_profile.h"

namespace offbook::backend {

class CudaProfile final : public OpProfile {
 public:
  explicit CudaProfile(CudaState& state) : state_(state) {}
  void begin() override;
  void end(std::string what) override;
  std::vector<Line> take() override;

 private:
  static constexpr size_t kMostPairs = 16'384;  // then it waits for the device and reads them
  struct Pair {
    CudaEvent begin, end;
    std::string what;
  };
  void gather();

  CudaState& state_;
  int depth_ = 0;  // operations within operations belong to the outermost
  std::vector<std::unique_ptr<Pair>> pairs_;
  size_t used_ = 0;
  std::map<std::string, Line> lines_;
};

}  // namespace offbook::backend
