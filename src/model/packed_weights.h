// A model's weights in the layout that this CPU reads fastest, beside the file's own.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "src/model/import/weights.h"
#include "src/ops/packed_linear/packed_matrix.h"
#include "src/records/context.h"

namespace offbook::model {

struct PackedLayer {
  ops::PackedMatrix qkv;  // q, k and v on top of each other
  Tensor qkv_bias;        // f32 [rows of qkv], or undefined
  ops::PackedMatrix o;
  ops::PackedMatrix gate_up;  // alternating, for SwiGLU
  ops::PackedMatrix down;
};

struct PackedWeights {
  std::vector<PackedLayer> layers;
  ops::PackedMatrix head;
  // False: passes of more than eight rows take the file's weights (AMX multiplies decoded tiles
  // faster).
  bool is_for_many_rows = true;

  int64_t bytes() const;
};

// Three vectors one behind the other; undefined unless all are defined.
Tensor joined(const Tensor& a, const Tensor& b, const Tensor& c);

// Null where some matrix cannot be packed (odd sizes): such a model keeps its own weights. The copy
// takes the bytes of the originals (f32: half), whose mapped pages inference does not read again.
std::shared_ptr<const PackedWeights> pack_weights(backend::ThreadPool& pool,
                                                  const LlamaWeights& weights);

// The same, mapped from <directory>/<fingerprint>.packed where that file is whole and of these
// weights (docs/formats/packed.md), else packed now and written there; a file that cannot be
// written costs time at the next start, nothing else.
std::shared_ptr<const PackedWeights> cached_packed_weights(FileSystem& fs,
                                                           const std::filesystem::path& directory,
                                                           const Fingerprint& fingerprint,
                                                           backend::ThreadPool& pool,
                                                           const LlamaWeights& weights);

}  // namespace offbook::model
