// The CPU gains nothing from fusing: its layers run on packed weights (model/llama.cc).
#include "src/ops/decode_layers/unfused.h"

#include "src/backend/cpu/isa_begin.h"

namespace offbook::ops::OB_ISA {
namespace {
OB_DECODE_LAYERS_OPS(OB_ISA);
}  // namespace

void decode_layers(const ExecutionContext& ctx, const DecodeLayersArgs& a) {
  decode_layers_unfused<Ops>(ctx, a);
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
