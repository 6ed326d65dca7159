#include "src/ops/pending.h"
OB_PENDING(lora, LoraArgs)
OB_PENDING(linear_cross_entropy, LinearCrossEntropyArgs)
OB_PENDING(linear_cross_entropy_backward, LinearCrossEntropyBackwardArgs)
