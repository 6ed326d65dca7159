// Closes isa_begin.h.
#pragma GCC pop_options
#undef OB_ISA
