#include "src/evaluate/suite.h"

#include <algorithm>
#include <charconv>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/evaluate/builtin_suites.h"
#include "src/evaluate/generators/infinitebench.h"
#include "src/evaluate/generators/ruler.h"
#include "src/evaluate/scorers.h"
#include "src/evaluate/suite_file.h"

namespace offbook::evaluate {
namespace {

using internal::SuiteSection;
using internal::SuiteValue;

// One key of a task with what is being read, for errors.
struct Setting {
  const std::string& file;
  const std::string& key;
  const SuiteValue& value;

  template <typename... Args>
  void require(bool holds, fmt::format_string<Args...> format, Args&&... args) const {
    OB_REQUIRE(holds, Corrupt, "{}:{}: {}: {}", file, value.line, key,
               fmt::format(format, std::forward<Args>(args)...));
  }
  // What a function says that knows no file, with the file in front.
  template <typename F>
  auto located(F&& f) const {
    try {
      return f();
    } catch (const Error& e) {
      OB_THROW(Corrupt, "{}:{}: {}: {}", file, value.line, key, e.what());
    }
  }

  int64_t number(int64_t low, int64_t high) const {
    int64_t n = 0;
    const char* end = value.text.data() + value.text.size();
    const auto [stop, error] = std::from_chars(value.text.data(), end, n);
    require(error == std::errc() && stop == end && n >= low && n <= high,
            "wanted a whole number from {} to {}, not {}", low, high, printable(value.text));
    return n;
  }
  double decimal(double low, double high) const {
    double d = 0;
    const char* end = value.text.data() + value.text.size();
    const auto [stop, error] = std::from_chars(value.text.data(), end, d);
    require(error == std::errc() && stop == end && d >= low && d <= high,
            "wanted a number from {} to {}, not {}", low, high, printable(value.text));
    return d;
  }
  std::vector<std::string> list() const {
    std::vector<std::string> out;
    std::string_view rest = value.text;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find_first_of(",\n"), rest.size());
      std::string_view item = rest.substr(0, end);
      rest.remove_prefix(std::min(rest.size(), end + 1));
      while (!item.empty() && item.front() == ' ') {
        item.remove_prefix(1);
      }
      while (!item.empty() && item.back() == ' ') {
        item.remove_suffix(1);
      }
      if (!item.empty()) {
        out.emplace_back(item);
      }
    }
    return out;
  }
  template <typename T>
  T one_of(std::initializer_list<std::pair<std::string_view, T>> names) const {
    std::string known;
    for (const auto& [name, meaning] : names) {
      if (name == value.text) {
        return meaning;
      }
      known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
    }
    require(false, "wanted one of {}, not {}", known, printable(value.text));
    OB_CHECK(false);
  }
};

// "\n" and "\\" as they are written in lists of stop texts.
std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_escape = text[i] == '\\' && i + 1 < text.size();
    out += is_escape ? (text[i + 1] == 'n' ? '\n' : text[i + 1]) : text[i];
    i += is_escape;
  }
  return out;
}

void set_generator(const Setting& s, Task& task) {
  const std::string& name = s.value.text;
  task.generator = name;
  if (name == "needle_fixed" || name == "needle_random") {
    task.source = Source::needle;
    return;
  }
  if (name.starts_with("ruler.")) {
    task.source = Source::ruler;
    task.generator = name.substr(6);
    s.located([&] { return ruler_task(task.generator); });
    return;
  }
  s.require(name.starts_with("infinitebench."),
            "wanted needle_fixed, needle_random, infinitebench.TASK or ruler.TASK, not {}",
            printable(name));
  task.source = Source::generated;
  task.generator = name.substr(14);
  task.infinitebench = s.located([&] { return metrics::infinitebench_task(task.generator); });
  s.require(is_generated(*task.infinitebench), "{} is read from a file (data = …, {})",
            task.generator, "format = infinitebench");
}

struct KeyReader {
  std::string_view name;
  void (*read)(const Setting& s, Task& task);
};

constexpr int64_t kManyTokens = 1 << 20;

const KeyReader kKeys[] = {
    {"data", [](const Setting& s, Task& t) { t.data = s.value.text; }},
    {"format",
     [](const Setting& s, Task& t) {
       t.source = s.one_of<Source>(
           {{"documents", Source::documents}, {"infinitebench", Source::infinitebench}});
     }},
    {"generate", set_generator},
    {"haystack", [](const Setting& s, Task& t) { t.haystack = s.value.text; }},
    {"passages", [](const Setting& s, Task& t) { t.passages = s.value.text; }},
    {"cases", [](const Setting& s, Task& t) { t.cases = s.number(1, 100'000); }},
    {"types", [](const Setting& s, Task& t) { t.types = s.list(); }},
    {"question", [](const Setting& s, Task& t) { t.question = s.value.text; }},
    {"part",
     [](const Setting& s, Task& t) {
       t.is_test_only = s.one_of<bool>({{"test", false}, {"all", true}});
     }},
    {"learned_documents", [](const Setting& s, Task& t) { t.learned_documents = s.value.text; }},
    {"max_document_tokens",
     [](const Setting& s, Task& t) { t.max_document_tokens = s.number(1, kManyTokens); }},
    {"system", [](const Setting& s, Task& t) { t.system = s.value.text; }},
    {"prompt", [](const Setting& s, Task& t) { t.prompt = s.value.text; }},
    {"prompt_alone", [](const Setting& s, Task& t) { t.prompt_alone = s.value.text; }},
    {"stem",
     [](const Setting& s, Task& t) {
       t.begins_answer = s.one_of<bool>({{"plain", false}, {"always", true}});
     }},
    {"max_tokens",
     [](const Setting& s, Task& t) { t.max_tokens = static_cast<int32_t>(s.number(1, 65'536)); }},
    {"stop",
     [](const Setting& s, Task& t) {
       t.stop.clear();
       for (const std::string& text : s.list()) {
         t.stop.push_back(unescaped(text));
       }
     }},
    {"temperature",
     [](const Setting& s, Task& t) { t.temperature = static_cast<float>(s.decimal(0, 2)); }},
    {"cut",
     [](const Setting& s, Task& t) {
       t.cut = s.one_of<Cut>({{"head", Cut::head}, {"middle", Cut::middle}, {"never", Cut::never}});
     }},
    {"measure",
     [](const Setting& s, Task& t) {
       t.measure = s.one_of<Measure>(
           {{"answer", Measure::answer}, {"continuation", Measure::continuation}});
     }},
    {"context_tokens",
     [](const Setting& s, Task& t) {
       t.context_tokens = static_cast<int32_t>(s.number(1, kManyTokens));
     }},
    {"continuation_tokens",
     [](const Setting& s, Task& t) {
       t.continuation_tokens = static_cast<int32_t>(s.number(1, 512));
     }},
    {"references",
     [](const Setting& s, Task& t) {
       t.references = s.one_of<References>(
           {{"given", References::given}, {"full_output", References::full_output}});
     }},
    {"metrics",
     [](const Setting& s, Task& t) {
       t.metrics = s.list();
       for (const std::string& name : t.metrics) {
         s.located([&] { return &find_scorer(name); });
       }
       s.require(!t.metrics.empty(), "wanted at least one metric");
     }},
    {"task",
     [](const Setting& s, Task& t) {
       t.infinitebench = s.located([&] { return metrics::infinitebench_task(s.value.text); });
     }},
};

void read_key(const std::string& file, const internal::SuiteKey& key, Task& task) {
  std::string known;
  for (const KeyReader& reader : kKeys) {
    if (reader.name == key.name) {
      reader.read({file, key.name, key.value}, task);
      return;
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", reader.name);
  }
  OB_THROW(Corrupt, "{}:{}: no key is called {}; there are {}", file, key.value.line,
           printable(key.name), known);
}

void check_task(const Task& task) {
  const auto require = [&](bool holds, std::string_view what) {
    OB_REQUIRE(holds, Corrupt, "{}: the task {} {}", task.where, task.name, what);
  };
  const bool is_made = task.source == Source::needle || task.source == Source::generated ||
                       task.source == Source::ruler;
  require(is_made || !task.data.empty(), "needs data = FILE or generate = NAME");
  require(!task.metrics.empty(), "needs metrics = …");
  require(task.source != Source::needle || !task.haystack.empty(), "needs haystack = FILE");
  require(task.source != Source::infinitebench || task.infinitebench.has_value(),
          "needs task = NAME, one of the twelve of ∞Bench");
  if (task.measure == Measure::continuation) {
    require(task.context_tokens > 0 && task.continuation_tokens > 0,
            "needs context_tokens and continuation_tokens");
    return;
  }
  const auto position = [&](std::string_view what) { return task.prompt.find(what); };
  require(position("{context}") != std::string::npos, "needs a prompt with {context}");
  require(task.prompt.find("{context}", position("{context}") + 1) == std::string::npos,
          "has {context} twice in its prompt");
  require(position("{question}") != std::string::npos || !task.question.empty(),
          "needs a prompt with {question}");
  require(position("{question}") > position("{context}"),
          "has {question} before {context}: what is read must not depend on what is asked");
}

std::string whole(FileSystem& fs, const std::filesystem::path& path) {
  const auto file = fs.open(path);
  return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

}  // namespace

Suite parse_suite(std::string_view text, const std::string& file) {
  Suite suite{.name = std::filesystem::path(file).stem().string(), .text = std::string(text)};
  Task defaults;
  for (const SuiteSection& section : internal::read_suite_file(text, file)) {
    Task task = defaults;
    task.name = section.name;
    task.where = fmt::format("{}:{}", file, section.line);
    for (const internal::SuiteKey& key : section.keys) {
      if (section.name.empty() && key.name == "title") {
        suite.title = key.value.text;
      } else if (section.name.empty() && key.name == "tasks_for_average") {
        suite.tasks_for_average =
            static_cast<size_t>(Setting{file, key.name, key.value}.number(1, 1000));
      } else {
        read_key(file, key, task);
      }
    }
    if (section.name.empty()) {
      defaults = task;
    } else {
      check_task(task);
      suite.tasks.push_back(std::move(task));
    }
  }
  OB_REQUIRE(!suite.tasks.empty(), Corrupt, "{}: a suite has at least one [task]", file);
  return suite;
}

std::string own_data_suite(const std::filesystem::path& data) {
  return fmt::format(
      "title = Questions of {1}\n[qa]\ndata = {0}\n"
      "part = all\nprompt =\n  Read these passages.\n\n  {{context}}\n\n"
      "  Answer in a few words, taken from the passages.\n  Question: {{question}}\n"
      "prompt_alone =\n  Answer in a few words.\n  Question: {{question}}\n"
      "stop = \\n\nmetrics = f1, exact_match, contains, kept_answer\n",
      data.string(), data.filename().string());
}

Suite load_suite(FileSystem& fs, const std::string& name_or_path) {
  const std::filesystem::path path = name_or_path;
  if (name_or_path.ends_with(".jsonl") || name_or_path.ends_with(".jsonl.zst")) {
    OB_REQUIRE(fs.stat(path), NotFound, "no data file at {}", name_or_path);
    std::error_code ignored;
    const auto absolute = std::filesystem::absolute(path, ignored);
    Suite suite = parse_suite(own_data_suite(absolute), name_or_path);
    suite.name = path.filename().string();
    suite.name.resize(suite.name.find(".jsonl"));
    return suite;
  }
  if (name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".suite")) {
    OB_REQUIRE(fs.stat(path), NotFound, "no suite file at {}", name_or_path);
    return parse_suite(whole(fs, path), name_or_path);
  }
  std::string known;
  for (const BuiltinSuite& suite : builtin_suites()) {
    if (suite.name == name_or_path) {
      return parse_suite(suite.text, fmt::format("{}.suite", suite.name));
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", suite.name);
  }
  OB_THROW(NotFound,
           "no suite is called {}; there are {}, or give a path of a .suite or .jsonl file",
           printable(name_or_path), known);
}

}  // namespace offbook::evaluate
