#include "src/ops/registry.h"

namespace offbook::ops {

const OpTable& op_table(Backend backend) {
#define OB_ENTRY(name, Args) .name = OB_NS::name,
#define OB_NS ref
  static constexpr OpTable kReference = {OB_OPS(OB_ENTRY)};
#undef OB_NS
#define OB_NS avx2
  static constexpr OpTable kAvx2 = {OB_OPS(OB_ENTRY)};
#undef OB_NS
#define OB_NS avx512
  static constexpr OpTable kAvx512 = {OB_OPS(OB_ENTRY)};
#undef OB_NS
#undef OB_ENTRY
  switch (backend) {
    case Backend::reference:
      return kReference;
    case Backend::cpu_avx2:
      return kAvx2;
    case Backend::cpu_avx512:
      return kAvx512;
    case Backend::cuda:
      return cuda_op_table();
  }
  OB_CHECK(false);
}

}  // namespace offbook::ops
