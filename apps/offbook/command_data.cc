// data build
#include "apps/offbook/commands.h"
#include "apps/offbook/engines.h"

#include "src/compress/data/build.h"

namespace offbook::app {
namespace {

using compress::DataReport;
using nlohmann::json;

struct DataOptions {
  std::filesystem::path recipe;
  std::filesystem::path data = ".";
  std::filesystem::path out;
};

json to_json(const DataReport& report) {
  json sources = json::array();
  for (const compress::SourceReport& s : report.sources) {
    sources.push_back({{"file", s.file},
                       {"documents", s.documents},
                       {"tokens", s.tokens},
                       {"examples", s.examples},
                       {"left_out", s.left_out},
                       {"overlapping", s.overlapping}});
  }
  json files = json::array();
  for (const auto& file : report.files) {
    files.push_back(file.string());
  }
  return {{"sources", sources},
          {"examples", report.examples},
          {"licences", report.licences},
          {"worst_overlap",
           {{"share", report.worst_overlap},
            {"title", report.worst_title},
            {"with", report.worst_with}}},
          {"files", files}};
}

void run_build(const Shell& shell, const DataOptions& o) {
  FileSystem& fs = real_file_system();
  const compress::DataRecipe recipe = compress::read_recipe(fs, o.recipe);
  Engines engines(shell);
  const model::LanguageModel& model = engines.model();
  const auto progress = std::make_unique<Progress>(shell, "reading", "documents");
  const DataReport report = compress::build_data(
      fs, {model.tokenizer(), model.fingerprint(), model.chat_format()}, recipe,
      {.data = o.data, .out = o.out, .on_progress = [&](const std::string&, int64_t documents) {
         progress->update(static_cast<double>(documents), 0);
         return !shell.stop().stop_requested();
       }});
  for (const compress::SourceReport& s : report.sources) {
    shell.say("{:32} {:6} documents, {:9} tokens, {:7} questions; {} left out, {} of them for overlap",
              s.file, s.documents, s.tokens, s.examples, s.left_out, s.overlapping);
  }
  for (const auto& [kind, count] : report.examples) {
    shell.say("  {} questions: {}", kind, count);
  }
  shell.say("largest overlap with what is kept for measuring: {:.2f}% of \"{}\" stands in {}",
            100 * report.worst_overlap, report.worst_title, report.worst_with);
  for (const auto& file : report.files) {
    shell.say("{}: {}", file.string(), in_bytes(fs.stat(file)->size_bytes));
  }
  shell.say_json(to_json(report));
}

}  // namespace

void add_data(CLI::App& app, Shell& shell) {
  CLI::App* data = app.add_subcommand("data", "training data for compressors");
  data->require_subcommand(1);
  const auto options = std::make_shared<DataOptions>();
  CLI::App* build = add_command(
      *data, shell, "build", "A recipe → token shards, checked against what is measured on.",
      "  offbook data build recipes/beacon.json --data ../shared/data --out shards",
      [&shell, options] { run_build(shell, *options); });
  build->add_option("recipe", options->recipe, "recipe file (docs/formats/training_data.md)")
      ->required();
  build->add_option("--data", options->data, "directory the recipe's files lie in")
      ->capture_default_str();
  build->add_option("--out", options->out, "directory for the shards")->required();
}

}  // namespace offbook::app
