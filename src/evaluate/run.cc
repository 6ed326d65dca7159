#include "src/evaluate/run.h"

#include <algorithm>
#include <chrono>

#include <fnmatch.h>
#include <nlohmann/json.hpp>

#include "src/base/error.h"
#include "src/compress/registry.h"
#include "src/evaluate/peak_memory.h"
#include "src/store/hash.h"

namespace offbook::evaluate {
namespace {

using Clock = std::chrono::steady_clock;

// Part of every key: raised when the same input gives other predictions than before.
constexpr int kFormat = 2;

bool is_learned(const Cell& cell) {
  for (const compress::Method& method : compress::methods()) {
    if (method.id == cell.compressor()) {
      return method.needs_training;
    }
  }
  return false;
}

// Cells that one call of ContextMaker::make() serves, as indices.
std::vector<std::vector<size_t>> groups_of(const std::vector<Cell>& cells) {
  std::vector<std::vector<size_t>> groups;
  for (size_t i = 0; i < cells.size(); ++i) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) {
      const Cell& first = cells[g.front()];
      return first.method == cells[i].method && first.top_k == cells[i].top_k;
    });
    if (group == groups.end()) {
      groups.push_back({i});
    } else {
      group->push_back(i);
    }
  }
  return groups;
}

class Runner {
 public:
  Runner(FileSystem& fs, const Suite& suite, const ContextTools& tools, Reader& reader,
         const RunOptions& options)
      : suite_(suite),
        tools_(tools),
        reader_(reader),
        options_(options),
        maker_(tools, options.contexts),
        prompts_(tools.base.tokenizer, tools.base.chat_format),
        journal_(fs, options.out) {}

  SuiteRun run(std::vector<TaskData> data) {
    SuiteRun out{.suite = &suite_, .cells = options_.cells};
    for (TaskData& task : data) {
      TaskRun t{.data = std::move(task)};
      t.predictions.assign(out.cells.size(),
                           std::vector<std::optional<Prediction>>(t.data.cases.size()));
      for (const Cell& cell : out.cells) {
        t.absent.push_back(reason_not_to_run(t.data, cell));
      }
      out.tasks.push_back(std::move(t));
    }
    total_ = count(out);
    const auto began = Clock::now();
    for (TaskRun& task : out.tasks) {
      for (const std::vector<size_t>& group : groups_of(out.cells)) {
        run_group(out, task, group);
      }
    }
    out.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    out.computed = computed_;
    out.kept = kept_;
    return out;
  }

 private:
  std::string reason_not_to_run(const TaskData& data, const Cell& cell) {
    if (!data.absent.empty()) {
      return data.absent;
    }
    if (is_learned(cell)) {
      if (tools_.learned.find(cell.compressor()) == tools_.learned.end()) {
        return "no weights (--compressor FILE)";
      }
      if (!data.learned_may_run) {
        return "learned methods are scored on test parts only";
      }
    }
    return cell.absent.empty() ? maker_.unavailable(cell) : cell.absent;
  }

  static bool may_run(const TaskData& data, const Cell& cell, const Case& c) {
    const std::string& pattern = data.task->learned_documents;
    return pattern.empty() || !is_learned(cell) ||
           ::fnmatch(pattern.c_str(), data.documents[c.document].id.c_str(), 0) == 0;
  }

  static int64_t count(const SuiteRun& run) {
    int64_t n = 0;
    for (const TaskRun& task : run.tasks) {
      for (size_t cell = 0; cell < run.cells.size(); ++cell) {
        for (size_t i = 0; task.absent[cell].empty() && i < task.data.cases.size(); ++i) {
          n += may_run(task.data, run.cells[cell], task.data.cases[i]);
        }
      }
    }
    return n;
  }

  std::string key_of(const TaskData& data, const Cell& cell, const Case& c) const {
    const Task& task = *data.task;
    const nlohmann::json content{kFormat,
                                 tools_.base.fingerprint.model,
                                 static_cast<int>(tools_.ctx.backend),
                                 text_format(),
                                 maker_.signature(cell),
                                 task.name,
                                 task.system,
                                 task.prompt,
                                 task.prompt_alone,
                                 task.max_tokens,
                                 task.stop,
                                 task.temperature,
                                 static_cast<int>(task.cut),
                                 static_cast<int>(task.measure),
                                 data.documents[c.document].hash,
                                 c.id,
                                 c.question,
                                 c.options,
                                 c.stem,
                                 task.begins_answer,
                                 c.example,
                                 c.continuation,
                                 c.answers};
    return store::to_hex(
        store::Hasher()
            .add_text(content.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
            .digest());
  }
  int text_format() const {
    return tools_.base.chat_format ? static_cast<int>(*tools_.base.chat_format) : -1;
  }

  // Chunks of cases in their order; a chunk's cells one after another, so that they share what was
  // read of a text.
  void run_group(SuiteRun& run, TaskRun& task, const std::vector<size_t>& group) {
    std::vector<size_t> cells;
    for (const size_t cell : group) {
      if (task.absent[cell].empty()) {
        cells.push_back(cell);
      }
    }
    std::vector<size_t> cases;
    for (size_t i = 0; i < task.data.cases.size() && !cells.empty(); ++i) {
      if (may_run(task.data, run.cells[cells.front()], task.data.cases[i])) {
        cases.push_back(i);
      }
    }
    for (size_t begin = 0; begin < cases.size();) {
      const size_t end = chunk_end(task.data, cases, begin);
      run_chunk(run, task, cells, std::span(cases).subspan(begin, end - begin));
      check_progress();
      begin = end;
    }
  }

  // Cases whose contexts are made at once: questions on one text share what is read of it. Of no
  // more texts than a batch has rows, so that a stop loses little.
  size_t chunk_end(const TaskData& data, const std::vector<size_t>& cases, size_t begin) const {
    constexpr size_t kFewest = 64;
    const auto batch = static_cast<size_t>(reader_.batch());
    const size_t most = std::min(cases.size(), begin + std::max(kFewest, batch));
    size_t documents = 1;
    size_t end = begin + 1;
    for (; end < most; ++end) {
      documents += data.cases[cases[end]].document != data.cases[cases[end - 1]].document;
      if (documents > batch) {
        break;
      }
    }
    return end;
  }

  void check_progress() {
    const int64_t done = computed_ + kept_;
    OB_REQUIRE(!options_.on_progress || options_.on_progress(done, total_), Cancelled,
               "stopped after {} of {} predictions; the same command goes on from there", done,
               total_);
  }

  // One case under some cells, before the model has read it.
  struct Work {
    size_t cell = 0;
    size_t at = 0;  // the case
    Prediction prediction;
    MadeContext context;
    ReadPrompt prompt;
  };

  void run_chunk(SuiteRun& run, TaskRun& task, const std::vector<size_t>& cells,
                 std::span<const size_t> chunk) {
    std::vector<std::vector<std::string>> keys(cells.size());  // by cell, by case
    std::vector<bool> takes_known(cells.size());
    for (size_t s = 0; s < cells.size(); ++s) {
      bool all_known = true;
      for (const size_t i : chunk) {
        keys[s].push_back(key_of(task.data, run.cells[cells[s]], task.data.cases[i]));
        all_known = all_known && journal_.find(keys[s].back()) != nullptr;
      }
      // Where an answer's bits depend on its neighbours, a chunk is read again as a whole.
      takes_known[s] = all_known || reader_.batch() <= Reader::kSameBits;
    }
    const auto known = [&](size_t s, size_t i) {
      return takes_known[s] ? journal_.find(keys[s][i]) : nullptr;
    };
    ContextWish wish{.data = &task.data};
    std::vector<size_t> wanted;  // numbers of the chunk's cases
    for (const size_t cell : cells) {
      wish.cells.push_back(&run.cells[cell]);
    }
    for (size_t i = 0; i < chunk.size(); ++i) {
      bool is_whole = true;
      for (size_t s = 0; s < cells.size(); ++s) {
        if (const Prediction* p = known(s, i)) {
          task.predictions[cells[s]][chunk[i]] = *p;
          ++kept_;
        } else {
          is_whole = false;
        }
      }
      if (!is_whole) {
        wanted.push_back(i);
        wish.cases.push_back(chunk[i]);
        wish.rooms.push_back(rooms_of(task, task.data.cases[chunk[i]], wish.cells));
      }
    }
    if (wanted.empty()) {
      return;
    }
    reset_peak_memory();
    std::vector<std::vector<MadeContext>> made = maker_.make(wish);
    const int64_t peak = peak_memory_bytes();
    for (size_t s = 0; s < cells.size(); ++s) {
      std::vector<Work> work;
      for (size_t w = 0; w < wanted.size(); ++w) {
        if (known(s, wanted[w]) == nullptr) {
          work.push_back(work_of(task, {cells[s], chunk[wanted[w]], keys[s][wanted[w]]},
                                 *wish.cells[s], std::move(made[w][s])));
          work.back().prediction.peak_bytes = peak;
        }
      }
      make_prompts(task, work);
      const auto batch = static_cast<size_t>(reader_.batch());
      for (size_t begin = 0; begin < work.size(); begin += batch) {
        read(task, std::span(work).subspan(begin, std::min(batch, work.size() - begin)));
        journal_.sync();
        check_progress();
      }
    }
  }

  std::vector<int64_t> rooms_of(const TaskRun& task, const Case& c,
                                const std::vector<const Cell*>& cells) const {
    std::vector<int64_t> rooms;
    for (const Cell* cell : cells) {
      rooms.push_back(prompts_.room(*task.data.task, c, cell->window));
      OB_REQUIRE(rooms.back() >= 0, InvalidArgument,
                 "{}: the question {} with its answer has {} tokens more than a window of {}",
                 task.data.task->where, c.id, -rooms.back(), cell->window);
    }
    return rooms;
  }

  struct Place {
    size_t cell = 0;
    size_t at = 0;  // the case
    std::string key;
  };
  static Work work_of(const TaskRun& task, const Place& place, const Cell& cell,
                      MadeContext context) {
    Work out{.cell = place.cell, .at = place.at};
    out.prediction = {.key = place.key,
                      .task = task.data.task->name,
                      .cell = cell.name(),
                      .question = task.data.cases[place.at].id,
                      .source_tokens = context.source_tokens,
                      .kept_tokens = context.kept_tokens,
                      .is_cut = context.is_cut,
                      .kept_answer = context.kept_answer,
                      .cited = context.cited,
                      .supporting = context.supporting,
                      .spans = context.spans,
                      .online_seconds = context.is_online ? context.seconds : 0,
                      .offline_seconds = context.offline_seconds};
    if (context.does_not_fit) {
      out.prediction.skipped = "the text does not fit the window";
    }
    out.context = std::move(context);
    return out;
  }

  void make_prompts(const TaskRun& task, std::vector<Work>& work) {
    tools_.ctx.pool->run(static_cast<int64_t>(work.size()), [&](int64_t i) {
      Work& one = work[static_cast<size_t>(i)];
      const Case& c = task.data.cases[one.at];
      if (!one.prediction.skipped.empty()) {
        return;
      }
      one.prompt = task.data.task->measure == Measure::continuation
                       ? prompts_.plain(c, one.context)
                       : prompts_.make(*task.data.task, c, one.context);
    });
  }

  void read(TaskRun& task, std::span<Work> of_cell) {
    std::vector<ReadPrompt> prompts;
    std::vector<Work*> readers;
    for (Work& work : of_cell) {
      if (work.prediction.skipped.empty()) {
        prompts.push_back(std::move(work.prompt));
        readers.push_back(&work);
      }
    }
    reset_peak_memory();
    if (task.data.task->measure == Measure::continuation) {
      for (size_t i = 0; i < readers.size(); ++i) {
        take_loss(task, prompts[i], *readers[i]);
      }
    } else if (!prompts.empty()) {
      take_answers(task, prompts, readers);
    }
    const int64_t peak = peak_memory_bytes();
    for (Work& work : of_cell) {
      work.prediction.peak_bytes = std::max(work.prediction.peak_bytes, peak);
      journal_.add(work.prediction);
      task.predictions[work.cell][work.at] = std::move(work.prediction);
      ++computed_;
    }
  }

  void take_answers(const TaskRun& task, const std::vector<ReadPrompt>& prompts,
                    const std::vector<Work*>& readers) {
    const Task& spec = *task.data.task;
    Decoding decoding{
        .max_tokens = spec.max_tokens, .stop = spec.stop, .temperature = spec.temperature};
    for (const Work* work : readers) {
      decoding.seeds.push_back(options_.cases.seed ^
                               std::stoull(work->prediction.key.substr(0, 15), nullptr, 16));
    }
    const std::vector<Reading> readings = reader_.read(prompts, decoding);
    for (size_t i = 0; i < readings.size(); ++i) {
      Prediction& p = readers[i]->prediction;
      p.text = readings[i].text;
      p.prompt_tokens = prompts[i].tokens();
      p.answer_tokens = readings[i].tokens;
      p.is_cold = readings[i].is_cold;
      p.prompt_seconds = readings[i].prompt_seconds;
      p.decode_seconds = readings[i].decode_seconds;
      const model::ModelConfig& config = tools_.base.llama.config();
      p.flops = readers[i]->context.flops +
                compress::pass_flops(config, p.prompt_tokens + p.answer_tokens, false);
    }
  }

  void take_loss(const TaskRun& task, const ReadPrompt& prompt, Work& work) {
    const auto began = Clock::now();
    const ContinuationLoss loss = reader_.loss(prompt);
    Prediction& p = work.prediction;
    p.nll_sum = loss.nll_sum;
    p.nll_tokens = loss.tokens;
    p.nll_bytes = static_cast<int64_t>(task.data.cases[work.at].continuation.size());
    p.prompt_tokens = prompt.tokens();
    p.prompt_seconds = std::chrono::duration<double>(Clock::now() - began).count();
    p.flops = work.context.flops +
              compress::pass_flops(tools_.base.llama.config(), p.prompt_tokens, true);
  }

  const Suite& suite_;
  const ContextTools& tools_;
  Reader& reader_;
  const RunOptions& options_;
  ContextMaker maker_;
  PromptMaker prompts_;
  Journal journal_;
  int64_t total_ = 0, computed_ = 0, kept_ = 0;
};

}  // namespace

SuiteRun run_suite(FileSystem& fs, const Suite& suite, const ContextTools& tools, Reader& reader,
                   const RunOptions& options) {
  std::vector<TaskData> data;
  for (const Task& task : suite.tasks) {
    data.push_back(load_cases(fs, task, options.cases, tools.base.tokenizer));
  }
  // What is wrong with the data was said before anything is written.
  return Runner(fs, suite, tools, reader, options).run(std::move(data));
}

void write_run(FileSystem& fs, const SuiteRun& run, const std::filesystem::path& directory) {
  write_file_atomically(fs, directory / "suite.suite", std::as_bytes(std::span(run.suite->text)));
  std::vector<nlohmann::json> questions, predictions;
  for (const TaskRun& task : run.tasks) {
    for (const Case& c : task.data.cases) {
      questions.push_back(to_json(task.data, c));
    }
    for (const auto& of_cell : task.predictions) {
      for (const std::optional<Prediction>& p : of_cell) {
        if (p) {
          predictions.push_back(to_json(*p, Fields::reproducible));
        }
      }
    }
  }
  write_lines(fs, directory / "questions.jsonl", questions);
  write_lines(fs, directory / "predictions.jsonl", predictions);
}

SuiteRun kept_suite_run(FileSystem& fs, const Suite& suite,
                        const std::filesystem::path& directory) {
  KeptRun kept = read_run(fs, directory);
  SuiteRun out{.suite = &suite};
  std::map<std::string, size_t> cell_number;
  for (const Prediction& p : kept.predictions) {
    if (cell_number.emplace(p.cell, out.cells.size()).second) {
      out.cells.push_back(cell_named(p.cell));
    }
  }
  std::map<std::pair<std::string, std::string>, std::pair<size_t, size_t>> place;
  for (size_t t = 0; t < kept.tasks.size(); ++t) {
    const auto task = std::find_if(suite.tasks.begin(), suite.tasks.end(),
                                   [&](const Task& s) { return s.name == kept.task_names[t]; });
    OB_REQUIRE(task != suite.tasks.end(), InvalidArgument, "{} has a task {}, the suite {} has not",
               directory.string(), kept.task_names[t], suite.name);
    TaskRun run{.data = std::move(kept.tasks[t])};
    run.data.task = &*task;
    run.absent.resize(out.cells.size());
    run.predictions.assign(out.cells.size(),
                           std::vector<std::optional<Prediction>>(run.data.cases.size()));
    for (size_t i = 0; i < run.data.cases.size(); ++i) {
      place[{kept.task_names[t], run.data.cases[i].id}] = {t, i};
    }
    out.tasks.push_back(std::move(run));
  }
  for (Prediction& p : kept.predictions) {
    const auto at = place.find({p.task, p.question});
    OB_REQUIRE(at != place.end(), Corrupt,
               "{}: a prediction for the question {}, which is not in "
               "questions.jsonl",
               directory.string(), p.question);
    const auto [t, i] = at->second;
    out.tasks[t].predictions[cell_number[p.cell]][i] = std::move(p);
    ++out.kept;
  }
  return out;
}

}  // namespace offbook::evaluate
