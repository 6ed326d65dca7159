// Which instruction sets the machine has.
#pragma once
#include <string>

namespace offbook::backend {

struct CpuFeatures {
  bool avx2 = false;    // AVX2, FMA, F16C: the least offbook runs on
  bool avx512 = false;  // F, BW, DQ, VL, VNNI, BF16 (Zen 4, Sapphire Rapids and later)
  bool amx_bf16 = false;
  std::string model_name;
};

CpuFeatures detect_cpu_features();

}  // namespace offbook::backend
