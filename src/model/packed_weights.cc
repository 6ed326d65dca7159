#include "src/model/packed_weights.h"

#include <algorithm>
#include <array>

#include "src/backend/cpu/features.h"
#include "src/model/packed_file.h"

namespace offbook::model {
namespace {

bool is_packable(const LlamaLayerWeights& w) {
  return ops::is_packable(std::array{w.q, w.k, w.v}) && ops::is_packable(std::array{w.o}) &&
         ops::is_packable(std::array{w.gate, w.up}) && w.gate.dtype() == w.up.dtype() &&
         w.gate.dim(0) == w.up.dim(0) && ops::is_packable(std::array{w.down});
}

bool is_packable(const LlamaWeights& weights) {
  return std::all_of(weights.layers.begin(), weights.layers.end(),
                     [](const LlamaLayerWeights& w) { return is_packable(w); }) &&
         ops::is_packable(std::array{weights.lm_head});
}

// make(matrices, order) gives each packed matrix, always in the same order.
template <typename Make>
std::shared_ptr<const PackedWeights> assemble(const LlamaWeights& weights, const Make& make) {
  auto out = std::make_shared<PackedWeights>();
  for (const LlamaLayerWeights& w : weights.layers) {
    PackedLayer layer;
    layer.qkv = make(std::array{w.q, w.k, w.v}, PackedOrder::stacked);
    layer.qkv_bias = joined(w.q_bias, w.k_bias, w.v_bias);
    layer.o = make(std::array{w.o}, PackedOrder::stacked);
    layer.gate_up = make(std::array{w.gate, w.up}, PackedOrder::alternating);
    layer.down = make(std::array{w.down}, PackedOrder::stacked);
    out->layers.push_back(std::move(layer));
  }
  out->head = make(std::array{weights.lm_head}, PackedOrder::stacked);
  out->is_for_many_rows = !backend::detect_cpu_features().amx_bf16;
  return out;
}

std::vector<const ops::PackedMatrix*> matrices_of(const PackedWeights& packed) {
  std::vector<const ops::PackedMatrix*> out;
  for (const PackedLayer& w : packed.layers) {
    out.insert(out.end(), {&w.qkv, &w.o, &w.gate_up, &w.down});
  }
  out.push_back(&packed.head);
  return out;
}

std::shared_ptr<const PackedWeights> load(FileSystem& fs, const std::filesystem::path& path,
                                          const std::string& fingerprint,
                                          const LlamaWeights& weights) {
  try {
    PackedReader reader(fs, path, fingerprint);
    return assemble(weights, [&](std::span<const Tensor> matrices, PackedOrder order) {
      return reader.next(matrices, order);
    });
  } catch (const Error&) {
    return nullptr;  // missing, damaged or of other weights: made again
  }
}

}  // namespace

Tensor joined(const Tensor& a, const Tensor& b, const Tensor& c) {
  if (!a.defined() || !b.defined() || !c.defined()) {
    return {};
  }
  Tensor out = Tensor::empty(Dtype::f32, {a.dim(0) + b.dim(0) + c.dim(0)});
  float* to = out.data<float>();
  for (const Tensor* t : {&a, &b, &c}) {
    to = std::copy_n(t->data<float>(), t->dim(0), to);
  }
  return out;
}

int64_t PackedWeights::bytes() const {
  int64_t sum = 0;
  for (const ops::PackedMatrix* matrix : matrices_of(*this)) {
    sum += matrix->bytes();
  }
  return sum;
}

std::shared_ptr<const PackedWeights> pack_weights(backend::ThreadPool& pool,
                                                  const LlamaWeights& weights) {
  if (!is_packable(weights)) {
    return nullptr;
  }
  return assemble(weights, [&](std::span<const Tensor> matrices, PackedOrder order) {
    return order == PackedOrder::stacked ? ops::pack_rows(pool, matrices)
                                         : ops::pack_alternating(pool, matrices[0], matrices[1]);
  });
}

std::shared_ptr<const PackedWeights> cached_packed_weights(FileSystem& fs,
                                                           const std::filesystem::path& directory,
                                                           const Fingerprint& fingerprint,
                                                           backend::ThreadPool& pool,
                                                           const LlamaWeights& weights) {
  if (!is_packable(weights)) {
    return nullptr;
  }
  const std::filesystem::path path = directory / (fingerprint.model + ".packed");
  if (auto packed = load(fs, path, fingerprint.model, weights)) {
    return packed;
  }
  auto packed = pack_weights(pool, weights);
  try {
    fs.create_directories(directory);
    write_packed(fs, path, fingerprint.model, matrices_of(*packed));
  } catch (const Error&) {
    return packed;
  }
  // The mapping shares its pages with other processes, the copy would not.
  auto mapped = load(fs, path, fingerprint.model, weights);
  return mapped != nullptr ? mapped : packed;
}

}  // namespace offbook::model
