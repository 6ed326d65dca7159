// All compression methods, in the order tables show them. An explicit list: self-registering
// statics vanish from static libraries.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "src/base/file_system.h"
#include "src/compress/compressor.h"

namespace offbook::compress {

struct Method {
  std::string_view id;
  ContextKind kind;
  bool needs_training;
  // `weights` is null exactly for methods without training. `ctx` is used by this call only.
  std::unique_ptr<Compressor> (*make)(const backend::ExecutionContext& ctx, const BaseModel& base,
                                      const CompressorWeights* weights);
};

std::span<const Method> methods();

// InvalidArgument naming those there are.
const Method& find_method(std::string_view id);

// A method without weights, or with those of a file. InvalidArgument: unknown id, weights missing
// or of another method or model; otherwise the errors of load_weights().
std::unique_ptr<Compressor> make_compressor(const backend::ExecutionContext& ctx,
                                            const BaseModel& base, std::string_view id,
                                            const CompressorWeights* weights = nullptr);
std::unique_ptr<Compressor> load_compressor(const backend::ExecutionContext& ctx,
                                            const BaseModel& base, FileSystem& fs,
                                            const std::filesystem::path& weights);

}  // namespace offbook::compress
