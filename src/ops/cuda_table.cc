#include "src/ops/registry.h"

namespace offbook::ops {

const OpTable& cuda_op_table() {
#define OB_ENTRY(name, Args) .name = cuda::name,
  static constexpr OpTable kCuda = {OB_OPS(OB_ENTRY)};
#undef OB_ENTRY
  return kCuda;
}

}  // namespace offbook::ops
