// What this machine can do at most: the limits that speeds are measured against.
#pragma once
#include "src/backend/context.h"

namespace offbook::backend {

// Of all threads of a pool together, best of several runs; 0 where the backend has no such
// products.
struct CpuPeaks {
  double f32 = 0;  // GFLOP/s of fused multiply-adds
  double bf16 =
      0;  // GFLOP/s: vdpbf16ps, or oneDNN's product of [1024, 1024] where that is faster (AMX)
  double int8 = 0;  // GOP/s: vpdpbusd, or vpmaddubsw with vpmaddwd
  double dram = 0;  // GB/s read from memory, 128 MiB a thread
};

// Takes about 0.5 s, and 128 MiB of memory a thread while it runs. Other work on the machine lowers
// the figures. `backend` is one of the CPU's vector backends.
CpuPeaks measure_cpu_peaks(ThreadPool& pool, Backend backend);

}  // namespace offbook::backend
