#include "src/ops/decode_layers/unfused.h"

namespace offbook::ops::ref {
namespace {
OB_DECODE_LAYERS_OPS(ref);
}  // namespace

void decode_layers(const ExecutionContext& ctx, const DecodeLayersArgs& a) {
  decode_layers_unfused<Ops>(ctx, a);
}

}  // namespace offbook::ops::ref
