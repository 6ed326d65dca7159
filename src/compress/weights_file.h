// Trained weights of a compressor: one safetensors file, docs/formats/compressor.md.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "src/base/file_system.h"
#include "src/model/import/lora_adapter.h"
#include "src/records/context.h"
#include "src/tensor/tensor.h"

namespace offbook::compress {

struct CompressorWeights {
  std::string method;
  Fingerprint base;
  std::string recipe;  // hash of what training was asked for; empty: untrained
  int64_t tokens_seen = 0;
  nlohmann::json settings = nlohmann::json::object();  // of the method: rank, alpha, ratios, …
  nlohmann::json held_out = nlohmann::json::object();  // figures of its evaluation
  std::map<std::string, Tensor>
      tensors;  // f32 or bf16 (packed_factors.h: u8), contiguous, on the CPU
};

// XXH3-128 over method, base model, settings and tensors, as 32 hex digits: what contexts carry.
// The same for weights that are saved and loaded. Cost: reads all tensors.
std::string hash_of(const CompressorWeights& weights);

// XXH3-128 of what training was asked for, as 32 hex digits.
std::string recipe_hash(const nlohmann::json& recipe);

// Io. Atomic.
void save_weights(FileSystem& fs, const std::filesystem::path& path,
                  const CompressorWeights& weights);

// Checks the file and that it belongs to `base`: InvalidArgument, naming both models, for another
// one; Unsupported for a newer format; Corrupt, NotFound. Tensors are views of the mapped file.
CompressorWeights load_weights(FileSystem& fs, const std::filesystem::path& path,
                               const Fingerprint& base);

// The adapter's factors as bf16 tensors "lora.layers.3.q_proj.a" …, and back as f32. Training
// keeps f32; what is saved is rounded, so measure with what was loaded.
// `prefix`: "lora", or "reader" for a second one.
void put_lora(const model::LoraAdapter& adapter, CompressorWeights& weights,
              const std::string& prefix = "lora");
model::LoraAdapter take_lora(const CompressorWeights& weights, const model::ModelConfig& config,
                             const std::string& prefix = "lora");

// An f32 copy of a tensor, unpacked where it is packed; Corrupt unless it is there with this shape.
Tensor take_f32(const CompressorWeights& weights, const std::string& name, const Shape& shape);

}  // namespace offbook::compress
