// CompressedContext, vectors and adapters as artefacts (docs/formats/artefact.md, "Kinds").
#pragma once
#include <string>

#include "src/records/context.h"
#include "src/store/artefact.h"

namespace offbook::store {

// How the values of a KV prefix are kept. The numbers are bits and are written into files.
enum class KvPrecision : uint8_t { as_made = 16, eight_bits = 8, four_bits = 4 };

// `origin` is the first byte of the segment: spans are stored relative to it, so that equal
// segments of different documents share one artefact. Document, ordinal and fidelity are not in the
// artefact (the database has them). Throws InvalidArgument for a context whose parts contradict its
// kind.
Artefact to_artefact(const CompressedContext& context, uint64_t origin, KvPrecision precision);

// The reverse; tensors are views of the artefact's file except a KV prefix stored in fewer bits,
// which is expanded to the dtype it had. Throws Corrupt.
CompressedContext to_context(const Artefact& artefact, uint64_t origin);

// Vectors of the passages of one document.
struct VectorBlock {
  std::string encoder;  // fingerprint of the sentence encoder
  Tensor ids;           // i64 [n], rising passage ids
  Tensor vectors;       // bf16 or f32 [n, dims]
};

Artefact to_artefact(const VectorBlock& block);
VectorBlock to_vectors(const Artefact& artefact);  // Corrupt

// `safetensors`: a whole file's bytes; `fields`: what the trainer wants to keep beside it.
Artefact adapter_artefact(std::string base_model, std::span<const std::byte> safetensors,
                          nlohmann::json fields);

}  // namespace offbook::store
