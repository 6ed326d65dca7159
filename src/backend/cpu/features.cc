#include "src/backend/cpu/features.h"

#include <cpuid.h>

#include <cstring>

namespace offbook::backend {
namespace {

bool has_amx_bf16() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22 & 1) != 0 && (d >> 24 & 1) != 0;
}

std::string brand() {
  char text[49] = {};
  for (unsigned i = 0; i < 3; ++i) {
    unsigned regs[4] = {};
    if (__get_cpuid(0x80000002 + i, &regs[0], &regs[1], &regs[2], &regs[3]) == 0) {
      return "unknown x86-64 CPU";
    }
    std::memcpy(text + i * 16, regs, 16);
  }
  return text;
}

}  // namespace

CpuFeatures detect_cpu_features() {
  __builtin_cpu_init();
  CpuFeatures f;
  f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  f.amx_bf16 = f.avx512 && has_amx_bf16();
  f.model_name = brand();
  return f;
}

}  // namespace offbook::backend
