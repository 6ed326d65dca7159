#include "src/ops/registry.h"

namespace offbook::ops {

const OpTable& cuda_op_table() {
  static constexpr OpTable kEmpty;
  return kEmpty;
}

}  // namespace offbook::ops
