#include "src/ops/pending.h"
OB_PENDING(lora, LoraArgs)
