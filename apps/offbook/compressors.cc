#include "apps/offbook/compressors.h"

namespace offbook::app {
namespace {

using nlohmann::json;

compress::BaseModel base_of(Engines& engines) {
  const model::LanguageModel& model = engines.model();
  return {model.llama(), model.tokenizer(), model.fingerprint(), model.chat_format()};
}

// Files called as the method's weights are, in the order they are tried.
std::vector<std::filesystem::path> weight_files(const Shell& shell, const std::string& method) {
  FileSystem& fs = real_file_system();
  std::vector<std::filesystem::path> files;
  for (const auto& root : {shell.options.models, shell.options.shipped_models}) {
    if (root.empty() || !fs.stat(root)) {
      continue;
    }
    for (const std::string& name : fs.list(root)) {
      const auto file = root / name / (method + ".safetensors");
      if (fs.stat(file)) {
        files.push_back(file);
      }
    }
  }
  return files;
}

bool is_another_model(const Error& e) {
  return e.code() == ErrorCode::InvalidArgument;
}

std::unique_ptr<OpenCompressor> with_weights(Engines& engines, const std::filesystem::path& file) {
  auto open = std::make_unique<OpenCompressor>(base_of(engines));
  open->compressor =
      compress::load_compressor(writing_context(engines), open->base, real_file_system(), file);
  open->weights = file;
  return open;
}

std::unique_ptr<OpenCompressor> untrained(Engines& engines, const std::string& method) {
  auto open = std::make_unique<OpenCompressor>(base_of(engines));
  open->compressor = compress::make_compressor(writing_context(engines), open->base, method);
  return open;
}

// The first file that was made for this model; damage in any is an error, silence would hide it.
std::unique_ptr<OpenCompressor> find_weights(Engines& engines, const std::string& method,
                                             const std::vector<std::filesystem::path>& files) {
  for (const auto& file : files) {
    try {
      auto open = with_weights(engines, file);
      if (open->describe().id == method) {
        return open;
      }
    } catch (const Error& e) {
      if (!is_another_model(e)) {
        throw;
      }
    }
  }
  return nullptr;
}

void warn_of_ratio(const Shell& shell, const OpenCompressor& open) {
  if (!open.describe().needs_training) {
    return;
  }
  const json ratios = open.compressor->weights().settings.value("ratios", json::array());
  if (!ratios.empty() &&
      std::find(ratios.begin(), ratios.end(), json(open.ratio)) == ratios.end()) {
    shell.note(
        "note: the weights were trained for the ratios {}, not for {}; the nearest stands in",
        ratios.dump(), open.ratio);
  }
}

}  // namespace

json OpenCompressor::settings() const {
  return {{"method", describe().id},
          {"weights", describe().weights_hash},
          {"file", weights.empty() ? "" : std::filesystem::absolute(weights).string()},
          {"ratio", ratio},
          {"is_query_aware", describe().is_query_aware}};
}

CompressorChoice open_compressor(const Shell& shell, Engines& engines,
                                 const CompressionOptions& options) {
  if (options.is_off || options.method == "none") {
    return {nullptr, "no compression: it was not asked for"};
  }
  CompressorChoice choice;
  const std::string method = options.method.empty() ? "beacon" : options.method;
  if (!options.weights.empty()) {
    choice.open = with_weights(engines, options.weights);
    OB_REQUIRE(options.method.empty() || choice.open->describe().id == method, InvalidArgument,
               "{} holds weights of the method {}, not of {}", options.weights.string(),
               choice.open->describe().id, method);
  } else if (!compress::find_method(method).needs_training) {
    choice.open = untrained(engines, method);
  } else {
    choice.open = find_weights(engines, method, weight_files(shell, method));
    OB_REQUIRE(choice.open || options.method.empty(), NotFound,
               "no {} weights for the model {} in {} or {}; `offbook train-compressor {}` makes "
               "them, --compressor names a file",
               method, shell.options.model, shell.options.models.string(),
               shell.options.shipped_models.string(), method);
  }
  if (!choice.open) {
    choice.why_none = fmt::format(
        "no compression: there are no {} weights for the model {}; answers use raw passages only",
        method, shell.options.model);
    return choice;
  }
  choice.open->ratio = options.stage.ratio;
  warn_of_ratio(shell, *choice.open);
  return choice;
}

CompressorChoice compressor_of(const Shell& shell, Engines& engines, const json& settings,
                               const std::filesystem::path& weights) {
  if (!settings.contains("compress") || !settings["compress"].is_object()) {
    return {};
  }
  const json& saved = settings["compress"];
  const auto method = saved.value("method", "");
  CompressorChoice choice;
  if (!weights.empty()) {
    choice.open = with_weights(engines, weights);
  } else if (!compress::find_method(method).needs_training) {
    choice.open = untrained(engines, method);
  } else {
    std::vector<std::filesystem::path> files = weight_files(shell, method);
    if (const std::filesystem::path there = saved.value("file", "");
        !there.empty() && real_file_system().stat(there)) {
      files.insert(files.begin(), there);
    }
    choice.open = find_weights(engines, method, files);
  }
  if (!choice.open) {
    choice.why_none = fmt::format(
        "slots are not used: no {} weights for the model {} were found; --compressor names a file",
        method, shell.options.model);
    return choice;
  }
  choice.open->ratio = saved.value("ratio", 16.0);
  if (choice.open->describe().weights_hash != saved.value("weights", "")) {
    choice.why_none = fmt::format(
        "slots are not used: the corpus was compressed with other {} weights than {}; "
        "`offbook compress` makes its slots again",
        method, choice.open->weights.string());
    choice.open.reset();
  }
  return choice;
}

backend::ExecutionContext writing_context(Engines& engines) {
  backend::ExecutionContext ctx = engines.device_context();
  ctx.compute = backend::Compute::bf16;
  return ctx;
}

void add_compression_options(CLI::App* command, CompressionOptions& o) {
  command->add_option("--method", o.method,
                      "how documents are compressed: beacon, autocompressor, truncate, head_tail, "
                      "random, selective_context, quito (when asked), none; default: beacon, where "
                      "there are weights for the model");
  command->add_option("--compressor", o.weights, "file with the method's trained weights");
  command->add_option("--ratio", o.stage.ratio, "tokens a slot stands for")
      ->check(CLI::Range(1.0, 512.0))
      ->capture_default_str();
  command
      ->add_option("--context-budget", o.stage.max_bytes,
                   "most bytes of compressed contexts on disk; others are made when asked for")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command->add_option("--kv-bits", o.kv_bits, "bits of a stored key or value: 4, 8 or 16")
      ->check(CLI::IsMember({4, 8, 16}))
      ->capture_default_str();
}

}  // namespace offbook::app
