#include "src/evaluate/predictions.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/compress/json_lines.h"

namespace offbook::evaluate {
namespace {

using nlohmann::json;

constexpr int64_t kMany = int64_t{1} << 53;
constexpr double kLarge = 1e300;
constexpr uint64_t kMaxLineBytes = uint64_t{64} << 20;
constexpr size_t kKeptSpans = 48;  // in a prediction's line: what a report shows

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string line_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

json parsed(std::string_view line, const std::string& where) {
  return parse_json(std::as_bytes(std::span(line.data(), line.size())), where, kMaxLineBytes);
}

std::string file_text(FileSystem& fs, const std::filesystem::path& path) {
  const auto file = fs.open(path);
  return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

std::vector<std::string> strings(const JsonFields& fields, const std::string& key) {
  std::vector<std::string> out;
  if (const json* value = fields.find(key)) {
    for (const json& item : *value) {
      OB_REQUIRE(item.is_string(), Corrupt, "{}: {} is a list of texts", fields.where(), key);
      out.push_back(item.get<std::string>());
    }
  }
  return out;
}

void read_question(const JsonFields& fields, KeptRun& run) {
  const std::string task = fields.get_string("task");
  if (run.task_names.empty() || run.task_names.back() != task) {
    run.task_names.push_back(task);
    run.tasks.emplace_back();
    run.tasks.back().part = fields.find_string("part").value_or("");
  }
  TaskData& data = run.tasks.back();
  const std::string document = fields.get_string("document");
  if (data.documents.empty() || data.documents.back().id != document) {
    data.documents.push_back({.id = document});
  }
  Case c{.id = fields.get_string("id"),
         .document = data.documents.size() - 1,
         .question = fields.get_string("question"),
         .answers = strings(fields, "answers"),
         .wants_all = fields.find_bool("wants_all").value_or(false),
         .options = strings(fields, "options"),
         .type = fields.find_string("type").value_or(""),
         .depth = fields.find_float("depth", -1, 1).value_or(-1),
         .length = fields.find_int("length", 0, kMany).value_or(0)};
  if (const auto label = fields.find_int("label", 0, 25)) {
    c.label = static_cast<size_t>(*label);
  }
  if (const json* value = fields.find("value")) {
    c.value = *value;
  }
  data.cases.push_back(std::move(c));
}

}  // namespace

json to_json(const Prediction& p, Fields fields) {
  json out{{"key", p.key},
           {"task", p.task},
           {"cell", p.cell},
           {"question", p.question},
           {"text", p.text},
           {"source_tokens", p.source_tokens},
           {"kept_tokens", p.kept_tokens},
           {"prompt_tokens", p.prompt_tokens},
           {"answer_tokens", p.answer_tokens},
           {"flops", p.flops}};
  if (!p.skipped.empty()) {
    out["skipped"] = p.skipped;
  }
  if (p.is_cut) {
    out["cut"] = true;
  }
  if (p.kept_answer) {
    out["kept_answer"] = *p.kept_answer;
  }
  if (p.cited > 0) {
    out["cited"] = p.cited;
    out["supporting"] = p.supporting;
  }
  if (p.nll_tokens > 0) {
    out["nll_sum"] = p.nll_sum;
    out["nll_tokens"] = p.nll_tokens;
    out["nll_bytes"] = p.nll_bytes;
  }
  for (size_t i = 0; i < std::min(p.spans.size(), kKeptSpans); ++i) {
    out["spans"].push_back({p.spans[i].begin, p.spans[i].end});
  }
  if (fields == Fields::all) {
    out["cold"] = p.is_cold;
    out["online_s"] = p.online_seconds;
    out["offline_s"] = p.offline_seconds;
    out["prompt_s"] = p.prompt_seconds;
    out["decode_s"] = p.decode_seconds;
    out["peak_bytes"] = p.peak_bytes;
  }
  return out;
}

Prediction prediction_of(const json& value, const std::string& where) {
  const JsonFields f(value, where);
  const auto count = [&](const char* key) { return f.find_int(key, 0, kMany).value_or(0); };
  const auto number = [&](const char* key) {
    return f.find_float(key, -kLarge, kLarge).value_or(0);
  };
  Prediction p{.key = f.get_string("key"),
               .task = f.get_string("task"),
               .cell = f.get_string("cell"),
               .question = f.get_string("question"),
               .text = f.get_string("text"),
               .skipped = f.find_string("skipped").value_or(""),
               .source_tokens = count("source_tokens"),
               .kept_tokens = count("kept_tokens"),
               .prompt_tokens = count("prompt_tokens"),
               .answer_tokens = count("answer_tokens"),
               .is_cut = f.find_bool("cut").value_or(false),
               .kept_answer = f.find_float("kept_answer", 0, 1),
               .cited = count("cited"),
               .supporting = count("supporting"),
               .nll_sum = number("nll_sum"),
               .nll_tokens = count("nll_tokens"),
               .nll_bytes = count("nll_bytes"),
               .flops = number("flops"),
               .is_cold = f.find_bool("cold").value_or(false),
               .online_seconds = number("online_s"),
               .offline_seconds = number("offline_s"),
               .prompt_seconds = number("prompt_s"),
               .decode_seconds = number("decode_s"),
               .peak_bytes = count("peak_bytes")};
  if (const json* spans = f.find("spans")) {
    for (const json& span : *spans) {
      OB_REQUIRE(span.is_array() && span.size() == 2 && span[0].is_number_unsigned() &&
                     span[1].is_number_unsigned(),
                 Corrupt, "{}: a span is [begin, end]", where);
      p.spans.push_back({span[0].get<uint64_t>(), span[1].get<uint64_t>()});
    }
  }
  return p;
}

json to_json(const TaskData& data, const Case& c) {
  json out{{"task", data.task->name},
           {"part", data.part},
           {"id", c.id},
           {"document", data.documents[c.document].id},
           {"question", c.question},
           {"answers", c.answers}};
  if (c.wants_all) {
    out["wants_all"] = true;
  }
  if (!c.options.empty()) {
    out["options"] = c.options;
  }
  if (c.label) {
    out["label"] = *c.label;
  }
  if (!c.value.is_null()) {
    out["value"] = c.value;
  }
  if (!c.type.empty()) {
    out["type"] = c.type;
  }
  if (c.depth >= 0) {
    out["depth"] = c.depth;
  }
  if (c.length > 0) {
    out["length"] = c.length;
  }
  return out;
}

Journal::Journal(FileSystem& fs, const std::filesystem::path& directory)
    : fs_(fs), directory_(directory / "journal") {
  fs_.create_directories(directory_);
  lock_ = fs_.try_lock(directory / "lock", "offbook evaluate");
  OB_REQUIRE(lock_ != nullptr, InvalidArgument, "{}: another evaluation is writing here",
             directory.string());
  int64_t number = 0;
  for (const std::string& name : fs_.list(directory_)) {
    if (name.ends_with(".jsonl")) {
      read(directory_ / name);
      ++number;
    }
  }
  do {
    next_ = directory_ / fmt::format("{:04}.jsonl", number++);
  } while (fs_.stat(next_));
}

Journal::~Journal() = default;

// A kill leaves a last line without its end, and nothing else that is wrong.
void Journal::read(const std::filesystem::path& path) {
  const std::string text = file_text(fs_, path);
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) {
      return;
    }
    const std::string where = fmt::format("{} line {}", path.string(), ++number);
    Prediction p =
        prediction_of(parsed(std::string_view(text).substr(begin, end - begin), where), where);
    by_key_.insert_or_assign(p.key, std::move(p));
    begin = end + 1;
  }
}

const Prediction* Journal::find(const std::string& key) const {
  const auto at = by_key_.find(key);
  return at == by_key_.end() ? nullptr : &at->second;
}

void Journal::add(const Prediction& prediction) {
  if (!file_) {
    file_ = fs_.create(next_);
  }
  file_->append(bytes_of(line_of(to_json(prediction, Fields::all))));
  by_key_.insert_or_assign(prediction.key, prediction);
}

void Journal::sync() {
  if (file_) {
    file_->sync();
  }
}

KeptRun read_run(FileSystem& fs, const std::filesystem::path& directory) {
  KeptRun run{.suite = file_text(fs, directory / "suite.suite")};
  compress::read_json_lines(fs, directory / "questions.jsonl",
                            [&](const JsonFields& fields, int64_t) {
                              read_question(fields, run);
                              return true;
                            });
  compress::read_json_lines(
      fs, directory / "predictions.jsonl", [&](const JsonFields& fields, int64_t) {
        run.predictions.push_back(prediction_of(fields.value(), fields.where()));
        return true;
      });
  // Times are in the journal only.
  std::map<std::string, Prediction*> by_key;
  for (Prediction& p : run.predictions) {
    by_key[p.key] = &p;
  }
  for (const std::string& name : fs.list(directory / "journal")) {
    const std::string relative = "journal/" + name;
    const std::string text = file_text(fs, directory / relative);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      if (end == std::string::npos) {
        break;
      }
      Prediction p = prediction_of(
          parsed(std::string_view(text).substr(begin, end - begin), relative), relative);
      if (const auto at = by_key.find(p.key); at != by_key.end() && at->second->text == p.text) {
        *at->second = std::move(p);
      }
      begin = end + 1;
    }
  }
  return run;
}

void write_lines(FileSystem& fs, const std::filesystem::path& path,
                 const std::vector<json>& lines) {
  std::string text;
  for (const json& line : lines) {
    text += line_of(line);
  }
  write_file_atomically(fs, path, bytes_of(text));
}

}  // namespace offbook::evaluate
