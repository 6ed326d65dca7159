// evaluate
#include "apps/offbook/commands.h"
#include "apps/offbook/compressors.h"
#include "apps/offbook/engines.h"

#include <algorithm>
#include <memory>

#include "src/compress/registry.h"
#include "src/evaluate/report/report.h"
#include "src/evaluate/run.h"
#include "src/evaluate/scores.h"
#include "src/evaluate/table.h"

namespace offbook::app {
namespace {

using nlohmann::json;

struct EvaluateOptions {
  std::string suite;
  std::vector<std::string> methods = {"truncate", "rag", "selective_context", "quito"};
  std::vector<double> ratios = {8, 16, 32};
  std::vector<int64_t> budgets;
  std::string windows, lengths = "1k";
  std::vector<int> top_k;
  std::vector<double> compress = {1};
  std::string with = "selective_context";
  int depths = 10;
  std::string part = "test", retriever = "hybrid", order = "best-first", baseline;
  int64_t passage_words = 0, limit = 0;
  double slot_ratio = 16;
  uint64_t seed = 1;
  std::vector<std::string> compressors;
  std::filesystem::path data, out, html, rescore;
  int batch = 0;
  bool quick = false, only = false, plain = false, numbered = false;
};

constexpr int64_t kQuickBytes = 12'000;  // of a document; longer ones where a task has no others
constexpr int64_t kQuickTokens = 2'048;  // that are read of it

// What `--quick` is: minutes on two CPU cores, of every suite. About 24 questions, of a task's
// shorter documents, which are cut.
void make_quick(EvaluateOptions& o, evaluate::Suite& suite) {
  for (evaluate::Task& task : suite.tasks) {
    int64_t& most = task.max_document_tokens;
    if (task.measure == evaluate::Measure::answer && (most == 0 || most > kQuickTokens)) {
      most = kQuickTokens;
    }
  }
  const auto tasks = static_cast<int64_t>(suite.tasks.size());
  o.limit = o.limit > 0 ? o.limit : std::clamp<int64_t>(24 / tasks, 1, 4);
  o.ratios = {16};
  o.depths = std::min(o.depths, 3);
}

// Keys and values that are kept in memory: enough for a full window beside a batch of short
// prompts; of a GPU at most half of what may be taken.
int64_t cache_tokens(const model::ModelConfig& config, bool is_gpu, size_t gpu_memory_bytes) {
  const int64_t token_bytes = config.layers * 2 * config.kv_width() * 2;  // bf16
  int64_t bytes = is_gpu ? int64_t{16} << 30 : int64_t{640} << 20;
  if (is_gpu && gpu_memory_bytes > 0) {
    bytes = std::min(bytes, static_cast<int64_t>(gpu_memory_bytes / 2));
  }
  return std::max<int64_t>(bytes / token_bytes, config.max_positions * 3 / 2);
}

evaluate::CellOptions cell_options(const EvaluateOptions& o, int64_t window) {
  evaluate::CellOptions cells{.methods = o.methods,
                              .ratios = o.ratios,
                              .budgets = o.budgets,
                              .top_k = o.top_k,
                              .compress = o.compress,
                              .grid_method = o.with,
                              .model_window = window,
                              .adds_baselines = !o.only};
  if (!o.windows.empty()) {
    cells.windows = evaluate::parse_lengths(o.windows, "--windows");
  }
  return cells;
}

retrieve::Mode retriever_named(const std::string& name) {
  return retrieve::mode_named(name == "bm25" ? "words" : name == "minilm" ? "meaning" : name);
}

evaluate::RunOptions run_options(const EvaluateOptions& o, const evaluate::Suite& suite,
                                 int64_t window) {
  OB_REQUIRE(o.order == "best-first" || o.order == "best-last", InvalidArgument,
             "--order is best-first or best-last, not {}", o.order);
  return {.cases = {.data = o.data,
                    .part = evaluate::part_named(o.part),
                    .limit = o.limit,
                    .seed = o.seed,
                    .max_bytes = o.quick ? kQuickBytes : 0,
                    .lengths = evaluate::parse_lengths(o.lengths, "--lengths"),
                    .depths = o.depths},
          .cells = evaluate::make_cells(cell_options(o, window)),
          .contexts = {.retriever = retriever_named(o.retriever),
                       .best_last = o.order == "best-last",
                       .is_numbered = o.numbered,
                       .passage_words = o.passage_words,
                       .slot_ratio = o.slot_ratio,
                       .seed = o.seed},
          .out = o.out.empty() ? std::filesystem::path("evaluation") / suite.name : o.out};
}

// Learned methods by id: those of --compressor, and of the methods asked for those whose weights
// lie where `compress` finds them too. A method without weights is a row that says so.
using Compressors = std::map<std::string, std::unique_ptr<OpenCompressor>>;

Compressors load_compressors(const Shell& shell, Engines& engines, const EvaluateOptions& o) {
  Compressors out;
  for (const std::string& file : o.compressors) {
    CompressorChoice choice = open_compressor(shell, engines, {.weights = file});
    const std::string id = choice.open->describe().id;
    OB_REQUIRE(out.emplace(id, std::move(choice.open)).second, InvalidArgument,
               "--compressor {}: weights of {} were given before", file, id);
  }
  for (const compress::Method& method : compress::methods()) {
    const std::string id(method.id);
    const bool is_asked =
        id == o.with || std::any_of(o.methods.begin(), o.methods.end(), [&](const std::string& m) {
          return evaluate::Cell{.method = m}.compressor() == id;
        });
    if (!method.needs_training || !is_asked || out.count(id) != 0) {
      continue;
    }
    try {
      out[id] = open_compressor(shell, engines, {.method = id}).open;
    } catch (const Error& e) {
      if (e.code() != ErrorCode::NotFound) {
        throw;
      }
      out.erase(id);
    }
  }
  return out;
}

evaluate::SuiteRun run_model(const Shell& shell, const evaluate::Suite& suite,
                             const EvaluateOptions& o) {
  Engines engines(shell);
  const model::LanguageModel& model = engines.model();
  evaluate::RunOptions options = run_options(o, suite, model.config().max_positions);
  compress::BaseModel base{model.llama(), model.tokenizer(), model.fingerprint()};
  if (!o.plain) {
    base.chat_format = model.chat_format();
  }
  const Compressors compressors = load_compressors(shell, engines, o);
  evaluate::ContextTools tools{.ctx = engines.device_context(), .base = base};
  tools.ctx.compute = backend::Compute::bf16;
  if (options.contexts.retriever != retrieve::Mode::words) {
    tools.encoder = &engines.encoder();
  }
  for (const auto& [id, open] : compressors) {
    tools.learned[id] = open->compressor.get();
  }
  const bool is_gpu = engines.device().is_gpu();
  model::Decoder decoder = model.make_decoder(
      tools.ctx, cache_tokens(model.config(), is_gpu, shell.options.gpu_memory_bytes));
  evaluate::Reader reader(base, decoder,
                          o.batch > 0 ? o.batch
                          : is_gpu    ? 256
                                      : 8,
                          model::Decoder::options_for(tools.ctx, 0).prefill_rows);
  auto progress = std::make_unique<Progress>(shell, "evaluating", "predictions");
  options.on_progress = [&](int64_t done, int64_t total) {
    progress->update(static_cast<double>(done), static_cast<double>(total));
    return !shell.stop().stop_requested();
  };
  evaluate::SuiteRun run = evaluate::run_suite(real_file_system(), suite, tools, reader, options);
  progress.reset();
  evaluate::write_run(real_file_system(), run, options.out);
  shell.note("{} predictions made in {}, {} found in {}", run.computed, in_time(run.seconds),
             run.kept, options.out.string());
  return run;
}

std::string baseline_of(const EvaluateOptions& o, const evaluate::SuiteRun& run) {
  if (!o.baseline.empty()) {
    return o.baseline;
  }
  for (const std::string name : {"truncate", "full", "none"}) {
    for (const evaluate::Cell& cell : run.cells) {
      if (cell.method == name) {
        return name;
      }
    }
  }
  return run.cells.front().method;
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  if (path.has_parent_path()) {
    real_file_system().create_directories(path.parent_path());
  }
  write_file_atomically(real_file_system(), path, std::as_bytes(std::span(text)));
}

void run_evaluate(Shell& shell, EvaluateOptions o) {
  if (o.data.empty()) {
    o.data = shell.options.data;
  }
  const bool rescores = !o.rescore.empty();
  const std::string name =
      rescores && o.suite.empty() ? (o.rescore / "suite.suite").string() : o.suite;
  OB_REQUIRE(!name.empty(), InvalidArgument, "--suite NAME or FILE says what is measured");
  evaluate::Suite suite = evaluate::load_suite(real_file_system(), name);
  if (o.quick) {
    make_quick(o, suite);
  }
  const evaluate::SuiteRun run =
      rescores ? evaluate::kept_suite_run(real_file_system(), suite, o.rescore)
               : run_model(shell, suite, o);
  OB_REQUIRE(!run.cells.empty(), InvalidArgument, "{} holds no prediction", o.rescore.string());
  const evaluate::SuiteScores scores =
      evaluate::score_run(run, {.baseline = baseline_of(o, run), .seed = o.seed});
  const json result = evaluate::to_json(scores);
  const std::filesystem::path directory = rescores ? o.rescore
                                          : o.out.empty()
                                              ? std::filesystem::path("evaluation") / suite.name
                                              : o.out;
  write_text(directory / "results.json", result.dump(1) + "\n");
  if (!o.html.empty()) {
    write_text(o.html, evaluate::render_report(scores, {.model = shell.options.model}));
    shell.note("report: {}", o.html.string());
  }
  shell.write_result(evaluate::render_table(scores));
  shell.say_json(result);
}

void add_options(CLI::App& command, EvaluateOptions& o) {
  command.add_option("--suite", o.suite, "a suite's name, a .suite file, or your own .jsonl");
  command.add_option("--methods", o.methods, "none, full, rag, picked, or compression methods")
      ->delimiter(',')
      ->capture_default_str();
  command.add_flag("--only", o.only, "without the baselines that stand beside the methods");
  command.add_option("--ratios", o.ratios, "tokens of the text for one that is kept")
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("--budgets", o.budgets, "tokens that are kept, instead of ratios")
      ->delimiter(',');
  command.add_option("--windows", o.windows, "tokens the reader may read: 2k,4k,8k");
  command.add_option("--top-k", o.top_k, "grid: passages in place of the text; 0: all of it")
      ->delimiter(',');
  command.add_option("--compress", o.compress, "grid: ratios, 1 for none")
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("--with", o.with, "grid: the method that compresses")->capture_default_str();
  command.add_option("--lengths", o.lengths, "of made cases: 4k, 1k,2k or 1k..32k")
      ->capture_default_str();
  command.add_option("--depths", o.depths, "of needles")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command.add_option("--retriever", o.retriever, "bm25, minilm or hybrid")->capture_default_str();
  command.add_option("--passage-words", o.passage_words, "300: passages as in the paper; 0: ours")
      ->capture_default_str();
  command.add_option("--slot-ratio", o.slot_ratio, "of the beacon's slots that `picked` takes")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command.add_option("--order", o.order, "of passages: best-first or best-last")
      ->capture_default_str();
  command.add_flag("--numbered", o.numbered, "\"[1] \" and so on before retrieved passages");
  command.add_option("--compressor", o.compressors, "weights of a learned method, one file each");
  command.add_option("--part", o.part, "of sets of 60 documents and more: train, tune, test, all")
      ->capture_default_str();
  command.add_option("--limit", o.limit, "questions of a task at most, spread over documents");
  command.add_option("--seed", o.seed)->capture_default_str();
  command.add_option("--baseline", o.baseline, "method that the others are compared with");
  command.add_option("--data", o.data, "folder of the data files (default: OFFBOOK_DATA)");
  command.add_option("--out", o.out, "directory of the run (default: evaluation/SUITE)");
  command.add_option("--html", o.html, "write a report to this file");
  command.add_option("--rescore", o.rescore, "score a run's directory again, without the model");
  command.add_option("--batch", o.batch, "prompts answered at a time (default: 8, GPU 256)")
      ->check(CLI::Range(0, 4096));
  command.add_flag("--plain", o.plain, "prompts as plain text, for models without chat training");
  command.add_flag("--quick", o.quick,
                   "few questions, documents cut after 2,048 tokens, one ratio");
}

}  // namespace

void add_evaluate(CLI::App& app, Shell& shell) {
  const auto options = std::make_shared<EvaluateOptions>();
  CLI::App* command = add_command(
      app, shell, "evaluate", "Measure methods, windows and budgets on question sets.",
      "  offbook evaluate --suite lloco --quick\n"
      "  offbook evaluate --suite qa --methods truncate,rag,quito --ratios 8,16 --html qa.html\n"
      "  offbook evaluate --suite needle --lengths 1k..8k --depths 10 --html needle.html\n"
      "  offbook evaluate --suite grid --windows 2k,4k,8k --top-k 0,3,5,10 --compress 1,8,32\n"
      "  offbook evaluate --suite questions.jsonl\n"
      "  offbook evaluate --rescore evaluation/lloco",
      [&shell, options] { run_evaluate(shell, *options); });
  add_options(*command, *options);
}

}  // namespace offbook::app
