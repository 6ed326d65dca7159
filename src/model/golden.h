// Shared by the golden tests: running a whole model over tokens, and comparing with stored numbers.
#pragma once
#include <numeric>
#include <vector>

#include "src/model/adapter_device.h"
#include "src/model/attention_path.h"
#include "src/model/llama.h"

namespace offbook::model {

inline std::vector<int32_t> ints_of(const Tensor& t) { return {t.data<int32_t>(), t.data<int32_t>() + t.numel()}; }

// f32 [n, vocab] of the packed path, on the CPU.
inline Tensor all_logits(const backend::ExecutionContext& ctx, const Llama& model, const std::vector<int32_t>& ids) {
  const auto n = static_cast<int64_t>(ids.size());
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  const PackedSequence sequence{.length = static_cast<int32_t>(n)};
  PackedAttention path(ctx, model.config(), model.inv_freq(),
                       {.sequences = std::span(&sequence, 1), .positions = positions});
  const Graph g{ctx};
  const Tensor x = model.embed(g, make_ints(ctx, ids, {n}), ctx.activations());
  return on_host(ctx, model.logits(ctx, model.run(g, x, path, {})));
}

// Σ (a − b)² / Σ b² of f32 tensors of one size.
inline double nmse(const Tensor& a, const Tensor& b) {
  double error = 0;
  double norm = 0;
  for (int64_t i = 0; i < b.numel(); ++i) {
    const double d = a.data<float>()[i] - b.data<float>()[i];
    error += d * d;
    norm += static_cast<double>(b.data<float>()[i]) * b.data<float>()[i];
  }
  return error / norm;
}

}  // namespace offbook::model
