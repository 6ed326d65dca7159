#include "src/backend/cpu/gemm.h"
#include "src/base/error.h"

namespace offbook::backend {

bool has_onednn() noexcept {
  return false;
}

void onednn_gemm(const GemmArgs&) {
  OB_THROW(Unsupported, "this build has no oneDNN (OB_ONEDNN is OFF)");
}

}  // namespace offbook::backend
