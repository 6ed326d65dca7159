#include "src/compress/beacon/weights.h"

#include <algorithm>

#include "src/backend/transfer.h"
#include "src/base/random.h"
#include "src/compress/embeddings.h"
#include "src/model/adapter_device.h"

namespace offbook::compress {
namespace {

constexpr char kSlots[] = "slot.vectors";
constexpr char kPool[] = "slot.pool";
constexpr char kReader[] = "reader";
constexpr float kSlotNoise = 0.005f;  // embeddings of SmolLM2 have a deviation of about 0.13

Tensor copy_of(const Tensor& t) {
  Tensor out = Tensor::empty(t.dtype(), t.shape());
  std::copy_n(t.raw(), static_cast<size_t>(t.bytes()), out.raw());
  return out;
}

std::vector<int32_t> ratios_of(const CompressorWeights& weights) {
  std::vector<int32_t> ratios;
  const auto at = weights.settings.find("ratios");
  OB_REQUIRE(at != weights.settings.end() && at->is_array() && !at->empty() && at->size() <= 64,
             Corrupt, "beacon weights: settings have no list of ratios");
  for (const nlohmann::json& ratio : *at) {
    OB_REQUIRE(
        ratio.is_number_integer() && ratio.get<int64_t>() > (ratios.empty() ? 0 : ratios.back()) &&
            ratio.get<int64_t>() <= 4096,
        Corrupt, "beacon weights: ratios are rising whole numbers up to 4096, not {}", at->dump());
    ratios.push_back(ratio.get<int32_t>());
  }
  return ratios;
}

}  // namespace

BeaconWeights new_beacon(const backend::ExecutionContext& ctx, const BaseModel& base,
                         const BeaconInit& init) {
  OB_REQUIRE(!init.ratios.empty() && init.ratios.front() >= 1 &&
                 std::is_sorted(init.ratios.begin(), init.ratios.end()),
             InvalidArgument, "ratios of a beacon rise from 1 on, not {}",
             fmt::join(init.ratios, ", "));
  const model::ModelConfig& config = base.llama.config();
  BeaconWeights out{.lora = model::make_lora_adapter(config, init.lora), .ratios = init.ratios};
  out.lora.base = base.fingerprint;
  if (init.reader_rank > 0) {
    out.reader =
        model::make_lora_adapter(config, {.rank = init.reader_rank,
                                          .alpha = 2 * static_cast<float>(init.reader_rank),
                                          .seed = init.seed + 1});
    out.reader.base = base.fingerprint;
  }
  const Tensor start = embedding_of(ctx, base, ",");
  out.slot = Tensor::empty(Dtype::f32, {static_cast<int64_t>(init.ratios.size()), config.hidden});
  Random random(init.seed ^ 0x736c6f7473ull);  // a stream of its own beside the adapter's
  for (int64_t i = 0; i < out.slot.numel(); ++i) {
    out.slot.data<float>()[i] =
        start.data<float>()[i % config.hidden] + kSlotNoise * static_cast<float>(random.normal());
  }
  out.pool = Tensor::empty(Dtype::f32, {1});
  out.pool.data<float>()[0] = init.pool;
  return out;
}

void put_beacon(const BeaconWeights& beacon, CompressorWeights& weights) {
  weights.method = "beacon";
  weights.settings["ratios"] = beacon.ratios;
  put_lora(beacon.lora, weights);
  if (beacon.reader_or_null() != nullptr) {
    put_lora(beacon.reader, weights, kReader);
  }
  weights.tensors[kSlots] = copy_of(beacon.slot);
  weights.tensors[kPool] = copy_of(beacon.pool);
}

BeaconWeights take_beacon(const CompressorWeights& weights, const model::ModelConfig& config) {
  BeaconWeights out{.lora = take_lora(weights, config), .ratios = ratios_of(weights)};
  out.slot = take_f32(weights, kSlots, {static_cast<int64_t>(out.ratios.size()), config.hidden});
  out.pool = take_f32(weights, kPool, {1});
  if (weights.settings.contains("reader_rank")) {
    out.reader = take_lora(weights, config, kReader);
  }
  return out;
}

BeaconWeights on_device(const backend::ExecutionContext& ctx, const BeaconWeights& beacon) {
  BeaconWeights out{.lora = model::on_device(ctx, beacon.lora),
                    .ratios = beacon.ratios,
                    .slot = backend::to_device(ctx, beacon.slot),
                    .pool = backend::to_device(ctx, beacon.pool)};
  if (beacon.reader_or_null() != nullptr) {
    out.reader = model::on_device(ctx, beacon.reader);
  }
  return out;
}

BeaconWeights on_host(const backend::ExecutionContext& ctx, const BeaconWeights& beacon) {
  BeaconWeights out{.lora = model::on_host(ctx, beacon.lora),
                    .ratios = beacon.ratios,
                    .slot = model::on_host(ctx, beacon.slot),
                    .pool = model::on_host(ctx, beacon.pool)};
  if (beacon.reader_or_null() != nullptr) {
    out.reader = model::on_host(ctx, beacon.reader);
  }
  return out;
}

}  // namespace offbook::compress
