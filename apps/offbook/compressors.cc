#include "apps/offbook/compressors.h"

#include "src/compress/beacon/reading_figures.h"
#include "src/learn/choose_ratios.h"

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

// Of `learn` or of what a generation remembers: a number, or "auto".
void set_ratio(OpenCompressor& open, const json& ratio, const json& tolerance) {
  open.is_auto = ratio == "auto";
  if (!open.is_auto) {
    open.ratio = ratio.is_number() ? ratio.get<double>() : 16;
    return;
  }
  OB_REQUIRE(!open.describe().is_query_aware, InvalidArgument,
             "--ratio auto compares slots with the text beforehand; {} works when a question comes",
             open.describe().id);
  open.tolerance = tolerance.is_number() ? tolerance.get<double>() : open.tolerance;
  open.ratio = learn::trained_ratios(*open.compressor).front();  // what is foretold with
}

// The number a flag holds. InvalidArgument.
json ratio_of(const std::string& flag) {
  if (flag == "auto") {
    return flag;
  }
  char* end = nullptr;
  const double value = std::strtod(flag.c_str(), &end);
  OB_REQUIRE(end != flag.c_str() && *end == 0 && value >= 1 && value <= 512, InvalidArgument,
             "--ratio is a number from 1 to 512, or auto, not '{}'", flag);
  return value;
}

// Why weights that were not asked for are left alone: where, on the questions they were tuned on,
// retrieved text of as many tokens answers better at every ratio. Empty where they hold no such
// figures.
std::string why_off(const OpenCompressor& open) {
  const json figures = open.compressor->weights().held_out.value("questions", json::object());
  std::string best;
  for (const int ratio : {8, 16, 32}) {
    const json slots = figures.value(fmt::format("{}x", ratio), json());
    const json raw = figures.value(compress::retrieved_row(ratio), json());
    if (!slots.is_object() || !raw.is_object()) {
      continue;
    }
    const double ours = slots.value("f1", 0.0);
    const double theirs = raw.value("f1", 0.0);
    if (ours >= theirs) {
      return "";
    }
    best = fmt::format(
        "no compression by default: on the questions its weights were tuned on, retrieved text of "
        "as many tokens as {} slots at {}× answers better (F1 {:.1f} against {:.1f}); --method {} "
        "compresses all the same",
        open.describe().id, ratio, theirs, ours, open.describe().id);
  }
  return best;
}

void warn_of_ratio(const Shell& shell, const OpenCompressor& open) {
  if (!open.describe().needs_training || open.is_auto) {
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
          {"ratio", is_auto ? json("auto") : json(ratio)},
          {"tolerance", is_auto ? json(tolerance) : json()},
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
  if (options.method.empty() && options.weights.empty()) {
    choice.why_none = why_off(*choice.open);
    if (!choice.why_none.empty()) {
      choice.open.reset();
      return choice;
    }
  }
  set_ratio(*choice.open, ratio_of(options.ratio), options.tolerance);
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
  set_ratio(*choice.open, saved.value("ratio", json(16.0)), saved.value("tolerance", json()));
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
  command
      ->add_option("--ratio", o.ratio,
                   "tokens a slot stands for; auto: for each document the highest that keeps its "
                   "answers within --tolerance of the raw text's, by questions made from its text; "
                   "else the document stays raw")
      ->capture_default_str();
  command->add_option("--tolerance", o.tolerance, "of --ratio auto: points of F1 that may be lost")
      ->check(CLI::Range(0.0, 100.0))
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
