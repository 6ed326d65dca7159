#include "src/backend/context.h"

#include "src/backend/cpu/features.h"
#include "src/base/error.h"

namespace offbook::backend {

std::string_view to_string(Backend backend) {
  switch (backend) {
    case Backend::reference:
      return "reference";
    case Backend::cpu_avx2:
      return "cpu_avx2";
    case Backend::cpu_avx512:
      return "cpu_avx512";
    case Backend::cuda:
      return "cuda";
  }
  return "unknown";
}

Backend best_cpu_backend() {
  const CpuFeatures features = detect_cpu_features();
  OB_REQUIRE(features.avx2, Unsupported, "offbook needs a CPU with AVX2 and FMA; this one ({}) has none",
             features.model_name);
  return features.avx512 ? Backend::cpu_avx512 : Backend::cpu_avx2;
}

}  // namespace offbook::backend
