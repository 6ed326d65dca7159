#include "src/model/adapter_device.h"

#include "src/backend/transfer.h"

namespace offbook::model {
namespace {

constexpr size_t kDistance = 256;  // of tensors in a block

size_t padded(const Tensor& t) {
  return (static_cast<size_t>(t.bytes()) + kDistance - 1) / kDistance * kDistance;
}

// fn(tensor) for every factor there is: in each layer those that read, then those that write.
// Factors that read the same input (of q, k, v; of gate, up) follow one another so that they can be
// one matrix.
template <typename Adapter, typename Fn>
void each_factor(Adapter& adapter, const Fn& fn) {
  for (auto& layer : adapter.layers) {
    for (auto& pair : layer) {
      if (pair.a.defined()) {
        fn(pair.a);
      }
    }
    for (auto& pair : layer) {
      if (pair.a.defined()) {
        fn(pair.b);
      }
    }
  }
}

bool lies_on(Device device, const LoraAdapter& adapter) {
  bool out = true;
  each_factor(adapter, [&](const Tensor& t) { out = out && t.device() == device; });
  return out;
}

}  // namespace

LoraAdapter on_device(const backend::ExecutionContext& ctx, const LoraAdapter& adapter) {
  return lies_on(ctx.device(), adapter) ? adapter : in_one_block(ctx, adapter);
}

LoraAdapter in_one_block(const backend::ExecutionContext& ctx, const LoraAdapter& adapter) {
  LoraAdapter out = adapter;
  size_t bytes = 0;
  each_factor(adapter, [&](const Tensor& t) { bytes += padded(t); });
  const auto block = ctx.arena->allocator().allocate(std::max(bytes, kDistance));
  // What lies between the tensors is read by steps over the whole block.
  const std::vector<std::byte> zeros(bytes);
  backend::upload(ctx, zeros, Tensor(block, Dtype::f32, {static_cast<int64_t>(bytes / 4)}));
  size_t at = 0;
  each_factor(out, [&](Tensor& t) {
    const Tensor there(block, t.dtype(), t.shape(), at);
    backend::upload(ctx, {t.raw(), static_cast<size_t>(t.bytes())}, there);
    at += padded(t);
    t = there;
  });
  return out;
}

Tensor on_host(const backend::ExecutionContext& ctx, const Tensor& t) {
  if (!t.defined() || t.device() == Device::cpu) {
    return t;
  }
  Tensor out = Tensor::empty(t.dtype(), t.shape());
  backend::download(ctx, t, {out.raw(), static_cast<size_t>(out.bytes())});
  return out;
}

LoraAdapter on_host(const backend::ExecutionContext& ctx, const LoraAdapter& adapter) {
  LoraAdapter out = adapter;
  each_factor(out, [&](Tensor& t) { t = on_host(ctx, t); });
  return out;
}

}  // namespace offbook::model
