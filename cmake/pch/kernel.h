// For kernels: what they include before the instruction set is named (src/backend/cpu/isa_begin.h).
#pragma once
#include "cmake/pch/pch.h"
#include "src/ops/dispatch.h"
#include "src/ops/registry.h"
