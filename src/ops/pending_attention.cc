#include "src/ops/pending.h"
OB_PENDING(attention, AttentionArgs)
OB_PENDING(attention_backward, AttentionBackwardArgs)
OB_PENDING(kv_write, KvWriteArgs)
OB_PENDING(paged_attention, PagedAttentionArgs)
