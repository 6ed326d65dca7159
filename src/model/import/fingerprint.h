// Which model is this? Hashes that artefacts carry, so that they refuse another model.
#pragma once
#include <filesystem>
#include <optional>

#include "src/base/file_system.h"
#include "src/model/import/weights.h"
#include "src/records/context.h"

namespace offbook::model {

// Both are XXH3-128 as 32 hex digits.
//   model:  configuration, tokenizer bytes (tokenizer.ggml.* metadata; tokenizer.json or
//           tokenizer.model), and name, type, shape and bytes of every tensor.
//   family: sizes of the network, RoPE, and the spelling of every used token by id; equal for other
//           quantisations of one model, and for GGUF and safetensors of one model.
// `cache_directory`: where given, results are kept there in fingerprints.json by path, inode, size
// and modification time of every file that went in. A cache that cannot be read or written is
// passed over. Errors: those of reading the model and its tokenizer. Cost: reads all weights once
// (about 10 GB/s from memory); with a cache hit a few stat calls. Thread-safe; of two writers at
// once one entry may be lost, never the file.
Fingerprint model_fingerprint(FileSystem& fs, const ModelFiles& files,
                              const std::optional<std::filesystem::path>& cache_directory = {});

// The same for a sentence encoder's directory.
Fingerprint encoder_fingerprint(FileSystem& fs, const std::filesystem::path& directory,
                                const std::optional<std::filesystem::path>& cache_directory = {});

}  // namespace offbook::model
