// The compressor of one run: which one was asked for, where its weights lie, which one a corpus was
// compressed with.
#pragma once
#include "apps/offbook/engines.h"

#include <CLI/CLI.hpp>

#include "src/compress/registry.h"
#include "src/learn/compress_stage.h"

namespace offbook::app {

// What `learn` and `compress` are told.
struct CompressionOptions {
  std::string method;             // empty: the beacon, where there are weights for the model
  std::filesystem::path weights;  // empty: looked for, see open_compressor()
  int kv_bits = 8;
  std::string ratio = "16";  // or "auto": each document has its own
  double tolerance = 5;      // of "auto": points of F1
  learn::CompressOptions stage;
  bool is_off = false;
};

// A compressor with what it needs. Borrows the engines.
struct OpenCompressor {
  explicit OpenCompressor(compress::BaseModel b) : base(std::move(b)) {}

  compress::BaseModel base;
  std::unique_ptr<compress::Compressor> compressor;
  std::filesystem::path weights;  // file; empty for methods without training
  double ratio = 16;              // of all documents, unless is_auto
  bool is_auto = false;           // documents have ratios of their own
  double tolerance = 5;           // that they were chosen with

  const compress::Description& describe() const { return compressor->describe(); }
  store::ContextRecipe recipe() const { return learn::recipe_of(*compressor, base, ratio); }
  // What a generation remembers.
  nlohmann::json settings() const;
};

// A compressor, or why there is none, as one sentence for people.
struct CompressorChoice {
  std::unique_ptr<OpenCompressor> open;
  std::string why_none;
};

// Weights that are not named are the first <models>/<any>/<method>.safetensors made for this model,
// in --models, then in --shipped-models. A method that was asked for by name without weights to be
// found is NotFound; named weights of another model are InvalidArgument.
CompressorChoice open_compressor(const Shell& shell, Engines& engines,
                                 const CompressionOptions& options);

// The one a generation was compressed with. `weights` empty: looked for as above, and where they
// lay when the corpus was compressed. None with the reason where they are not there or are others
// by now; a corpus without compression gives no reason.
CompressorChoice compressor_of(const Shell& shell, Engines& engines, const nlohmann::json& settings,
                               const std::filesystem::path& weights);

// Writing passes run in bf16 where the device has it.
backend::ExecutionContext writing_context(Engines& engines);

void add_compression_options(CLI::App* command, CompressionOptions& options);

}  // namespace offbook::app
