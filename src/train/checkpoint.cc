#include "src/train/checkpoint.h"

#include <charconv>
#include <map>

#include "src/backend/transfer.h"
#include "src/model/import/safetensors.h"

namespace offbook::train {
namespace {

Tensor on_host(const backend::ExecutionContext& ctx, const Tensor& t) {
  const Tensor out = Tensor::empty(t.dtype(), t.shape());
  backend::download(ctx, t, {out.raw(), static_cast<size_t>(out.bytes())});
  return out;
}

// Doubles as hexadecimal floats: exact.
std::string exact(double value) { return fmt::format("{:a}", value); }

double number(const std::map<std::string, std::string>& metadata, const std::string& key, const std::string& file) {
  const auto at = metadata.find(key);
  OB_REQUIRE(at != metadata.end(), Corrupt, "{}: no field {}", file, key);
  char* end = nullptr;
  const double value = std::strtod(at->second.c_str(), &end);
  OB_REQUIRE(end != at->second.c_str() && *end == 0, Corrupt, "{}: field {} is no number: {}", file, key, at->second);
  return value;
}

void fill_from(const backend::ExecutionContext& ctx, const model::SafetensorsFile& file, const std::string& name,
               const Tensor& to) {
  const Tensor from = file.tensor(name);
  OB_REQUIRE(from.dtype() == Dtype::f32 && from.shape() == to.shape(), Corrupt, "{} is {}, wanted {}", name,
             to_string(from), to_string(to));
  backend::upload(ctx, {from.raw(), static_cast<size_t>(from.bytes())}, to);
}

}  // namespace

void save_checkpoint(const backend::ExecutionContext& ctx, FileSystem& fs, const std::filesystem::path& path,
                     const RunState& state, const std::vector<Parameter>& parameters, const std::vector<Tensor>& best) {
  std::map<std::string, Tensor> tensors;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    tensors[p.name + ".value"] = on_host(ctx, p.value);
    tensors[p.name + ".m"] = on_host(ctx, p.m);
    tensors[p.name + ".v"] = on_host(ctx, p.v);
    if (!best.empty()) {
      tensors[p.name + ".best"] = best[i];
    }
  }
  std::map<std::string, std::string> metadata{{"format", "offbook.checkpoint.1"},
                                              {"recipe", state.recipe},
                                              {"step", std::to_string(state.step)},
                                              {"last_loss", exact(state.last_loss)},
                                              {"without_gain", std::to_string(state.evaluations_without_gain)}};
  if (state.best_held_out) {
    metadata["best_held_out"] = exact(*state.best_held_out);
  }
  fs.create_directories(path.parent_path());
  write_file_atomically(fs, path, model::write_safetensors(tensors, metadata));
}

std::optional<RunState> load_checkpoint(const backend::ExecutionContext& ctx, FileSystem& fs,
                                        const std::filesystem::path& path, const std::string& recipe,
                                        std::vector<Parameter>& parameters, std::vector<Tensor>& best) {
  if (!fs.stat(path)) {
    return std::nullopt;
  }
  const auto file = model::SafetensorsFile::open(fs, path);
  const auto& metadata = file->metadata();
  const auto format = metadata.find("format");
  OB_REQUIRE(format != metadata.end() && format->second == "offbook.checkpoint.1", Unsupported,
             "{}: not a checkpoint this version can read", path.string());
  const auto same = metadata.find("recipe");
  OB_REQUIRE(same != metadata.end() && same->second == recipe, InvalidArgument,
             "{}: belongs to another training run; remove it to start anew", path.string());
  RunState state{.step = static_cast<int64_t>(number(metadata, "step", path.string())),
                 .last_loss = number(metadata, "last_loss", path.string()),
                 .evaluations_without_gain = static_cast<int32_t>(number(metadata, "without_gain", path.string())),
                 .recipe = recipe};
  if (metadata.contains("best_held_out")) {
    state.best_held_out = number(metadata, "best_held_out", path.string());
  }
  best.clear();
  for (Parameter& p : parameters) {
    fill_from(ctx, *file, p.name + ".value", p.value);
    fill_from(ctx, *file, p.name + ".m", p.m);
    fill_from(ctx, *file, p.name + ".v", p.v);
    if (state.best_held_out) {
      best.push_back(Tensor::empty(Dtype::f32, p.value.shape()));
      const Tensor from = file->tensor(p.name + ".best");
      OB_REQUIRE(from.shape() == p.value.shape() && from.dtype() == Dtype::f32, Corrupt, "{}: {}.best is {}", path.string(),
                 p.name, to_string(from));
      std::copy_n(from.data<float>(), from.numel(), best.back().data<float>());
    }
  }
  return state;
}

}  // namespace offbook::train
