// Included after all other headers of a kernel file, which is compiled once for each instruction
// set (OB_ISA_AVX2 or OB_ISA_AVX512). What follows may use that set; what came before, such as the
// standard library's templates, stays plain x86-64, so that the linker cannot pick an AVX-512 copy of
// an inline function for a machine without it. isa_end.h closes it. No #pragma once: by design.
#if defined(OB_ISA_AVX512)
#define OB_ISA avx512
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")
#elif defined(OB_ISA_AVX2)
#define OB_ISA avx2
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2")
#else
#error "kernel files are compiled with OB_ISA_AVX2 or OB_ISA_AVX512"
#endif
