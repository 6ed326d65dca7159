#include "src/ops/paged_attention/decode_cuda.cuh"

namespace offbook::ops::cuda {

// Each sequence goes to one kernel by its own size alone, so that its rows keep their bits in any
// batch.
void paged_attention(const ExecutionContext& ctx, const PagedAttentionArgs& a) {
  OB_REQUIRE(a.k_pages.is_contiguous() && a.v_pages.is_contiguous(), Unsupported,
             "paged_attention on cuda: pages are contiguous, not {}", to_string(a.k_pages));
  if (a.q.numel() == 0 || a.sequences.dim(0) == 0) {
    return;
  }
  const auto group = static_cast<int>(a.q.dim(1) / a.k_pages.dim(2));
  const bool flash = flash_fits(ctx, a.q, a.k_pages, a.v_pages, a.out);
  if (flash) {
    attention_decode(ctx, a);
    if (a.max_length * group <= kDecodeRows) {
      return;
    }
    if (paged_attention_cudnn(ctx, a, kDecodeRows)) {
      return;
    }
  }
  const ForwardPass<PagedKeys> pass{.q = a.q,
                                    .k = a.k_pages,
                                    .v = a.v_pages,
                                    .out = a.out,
                                    .keys = paged_keys(a),
                                    .shape = {.q = head_strides(a.q),
                                              .out = head_strides(a.out),
                                              .lse = nullptr,
                                              .heads = static_cast<int>(a.q.dim(1)),
                                              .group = group,
                                              .dim = static_cast<int>(a.q.dim(2)),
                                              .scale = a.scale},
                                    .sequences = static_cast<int>(a.sequences.dim(0)),
                                    .max_length = a.max_length,
                                    .skip_rows = flash ? kDecodeRows : 0};
  if (flash) {
    attention_flash(ctx, pass);
  } else {
    attention_any(ctx, pass);
  }
}

}  // namespace offbook::ops::cuda
