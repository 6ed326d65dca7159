#include "src/model/pass_plan.h"

#include <algorithm>

#include "src/backend/transfer.h"

namespace offbook::model {
namespace {

constexpr int64_t kFullRows = 49'152;  // beyond, more rows at once bring nothing on an H200

// Values of a layer that stay for backward: norms, q, k, v, rotated, attended, residuals; gate, up
// and their product; as many again of the widest for gradients in flight.
int64_t values_of_layer(const ModelConfig& c) {
  return 5 * c.hidden + 3 * c.q_width() + 4 * c.kv_width() + 3 * c.ffn;
}

}  // namespace

int64_t kept_bytes(const ModelConfig& config, Dtype activations, Checkpointing checkpointing) {
  const int64_t layer = values_of_layer(config);
  const int64_t values = checkpointing == Checkpointing::none
                             ? (config.layers + 2) * layer
                             : config.layers * config.hidden + 3 * layer;
  return dtype_bytes(activations, values);
}

PassPlan plan_pass(const backend::ExecutionContext& ctx, const ModelConfig& config,
                   const PassWish& wish) {
  // A tenth for logits, adapters and what the allocator wastes.
  const auto room =
      static_cast<int64_t>(std::min<size_t>(backend::free_bytes(ctx), size_t{1} << 50) / 10 * 9);
  const auto fit = [&](Checkpointing c) { return room / kept_bytes(config, ctx.activations(), c); };
  PassPlan plan;
  if (wish.saves_memory || fit(Checkpointing::none) < wish.least_rows) {
    plan.checkpointing = Checkpointing::per_layer;
  }
  plan.rows =
      std::max(wish.least_rows, std::min({wish.most_rows, kFullRows, fit(plan.checkpointing)}));
  return plan;
}

}  // namespace offbook::model
