#include "src/ops/pending.h"
OB_PENDING(linear, LinearArgs)
OB_PENDING(linear_backward_input, LinearBackwardInputArgs)
OB_PENDING(linear_backward_weight, LinearBackwardWeightArgs)
OB_PENDING(lora, LoraArgs)
OB_PENDING(linear_cross_entropy, LinearCrossEntropyArgs)
OB_PENDING(linear_cross_entropy_backward, LinearCrossEntropyBackwardArgs)
