// Until an operation's file lands its slots say so. Deleted with the last pending_*.cc.
#pragma once
#include "src/ops/registry.h"
#define OB_PENDING(name, Args)                                                                  \
  namespace offbook::ops::ref { void name(const ExecutionContext&, const Args&) { OB_THROW(Unsupported, #name " is not there yet"); } } \
  namespace offbook::ops::avx2 { void name(const ExecutionContext&, const Args&) { OB_THROW(Unsupported, #name " is not there yet"); } } \
  namespace offbook::ops::avx512 { void name(const ExecutionContext&, const Args&) { OB_THROW(Unsupported, #name " is not there yet"); } }
