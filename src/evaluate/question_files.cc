#include "src/evaluate/question_files.h"

#include <algorithm>
#include <unordered_map>

#include "src/base/error.h"
#include "src/compress/json_lines.h"

namespace offbook::evaluate {
namespace {

using nlohmann::json;

class LineReader {
 public:
  LineReader(const Task& task, TaskData& to) : task_(task), to_(to) {}

  void line(const JsonFields& fields) {
    if (task_.source == Source::infinitebench) {
      infinitebench(fields);
    } else if (fields.has("questions")) {
      document(fields);
    } else if (fields.has("question") && (fields.has("context") || fields.has("text"))) {
      row(fields);
    } else if (fields.has("text") && needs_no_questions()) {
      add_document(fields);
    } else {
      refuse(fields);
    }
  }

 private:
  bool needs_no_questions() const {
    return task_.measure == Measure::continuation || !task_.question.empty();
  }

  [[noreturn]] static void refuse(const JsonFields& fields) {
    std::string names;
    for (const auto& [name, value] : fields.value().items()) {
      names += fmt::format("{}{}", names.empty() ? "" : ", ", printable(name));
    }
    OB_THROW(Corrupt,
             "{}: neither a document (text, questions) nor a row (context, question, answers); it "
             "has {}",
             fields.where(), names.empty() ? "no fields" : names);
  }

  static std::vector<std::string> strings(const JsonFields& fields, const std::string& key) {
    const json* value = fields.find(key);
    std::vector<std::string> out;
    if (value == nullptr) {
      return out;
    }
    if (value->is_string()) {
      return {value->get<std::string>()};
    }
    OB_REQUIRE(value->is_array(), Corrupt, "{}: {} is a list of texts", fields.where(), key);
    for (const json& item : *value) {
      OB_REQUIRE(item.is_string(), Corrupt, "{}: {} is a list of texts", fields.where(), key);
      out.push_back(item.get<std::string>());
    }
    return out;
  }

  size_t add_document(const JsonFields& fields) {
    const std::string id =
        fields.find_string("id").value_or(fmt::format("{}", to_.documents.size()));
    to_.documents.push_back({.id = id, .text = fields.get_string("text")});
    OB_REQUIRE(!to_.documents.back().text.empty(), Corrupt, "{}: the text is empty",
               fields.where());
    return to_.documents.size() - 1;
  }

  // ASQA's: one set of names for every reading of a question.
  static void answer_sets(const JsonFields& fields, Case& c) {
    const json* sets = fields.find("answer_sets");
    if (sets == nullptr) {
      return;
    }
    OB_REQUIRE(sets->is_array() && !sets->empty(), Corrupt,
               "{}: answer_sets is a list of lists of texts", fields.where());
    for (size_t i = 0; i < sets->size(); ++i) {
      const json one{{"answer_sets", (*sets)[i]}};
      const auto names =
          strings(JsonFields(one, fmt::format("{}, set {}", fields.where(), i)), "answer_sets");
      c.answers.insert(c.answers.end(), names.begin(), names.end());
    }
    c.value = *sets;
  }

  Case question(const JsonFields& fields, size_t document, const std::string& id) const {
    Case c{.id = fields.find_string("id").value_or(id),
           .document = document,
           .question = fields.get_string("question"),
           .answers = strings(fields, fields.has("answers") ? "answers" : "answer"),
           .options = strings(fields, "options"),
           .type = fields.find_string("type").value_or("")};
    answer_sets(fields, c);
    OB_REQUIRE(!c.answers.empty() || task_.references == References::full_output, Corrupt,
               "{}: the question {} has no answers", fields.where(), printable(c.id));
    if (!c.options.empty()) {
      const auto most = static_cast<int64_t>(c.options.size()) - 1;
      OB_REQUIRE(most < 26, Corrupt, "{}: {} options, at most 26", fields.where(), most + 1);
      if (const auto label = fields.find_int("label", 0, most)) {
        c.label = static_cast<size_t>(*label);
      }
    }
    c.depth = fields.find_float("depth", 0, 1).value_or(-1);
    return c;
  }

  void document(const JsonFields& fields) {
    const size_t number = add_document(fields);
    const json* questions = fields.find("questions");
    OB_REQUIRE(questions->is_array(), Corrupt, "{}: questions is a list", fields.where());
    if (needs_no_questions()) {
      return;
    }
    for (size_t i = 0; i < questions->size(); ++i) {
      const JsonFields one((*questions)[i], fmt::format("{}, question {}", fields.where(), i));
      to_.cases.push_back(question(one, number, fmt::format("{}#{}", to_.documents[number].id, i)));
    }
  }

  size_t document_of(const std::string& text) {
    const auto [at, is_new] = by_text_.emplace(text, to_.documents.size());
    if (is_new) {
      to_.documents.push_back({.id = fmt::format("row-{}", at->second), .text = text});
    }
    return at->second;
  }

  void row(const JsonFields& fields) {
    const size_t number =
        document_of(fields.get_string(fields.has("context") ? "context" : "text"));
    if (!needs_no_questions()) {
      to_.cases.push_back(question(fields, number, fmt::format("row-{}#0", rows_)));
    }
    ++rows_;
  }

  void infinitebench(const JsonFields& fields) {
    for (const char* key : {"context", "input", "answer"}) {
      OB_REQUIRE(fields.has(key), Corrupt,
                 "{}: a row of ∞Bench has context, input and answer; {} "
                 "is missing",
                 fields.where(), key);
    }
    Case c{.document = document_of(fields.get_string("context")),
           .question = fields.get_string("input"),
           .options = strings(fields, "options"),
           .value = *fields.find("answer")};
    const json* id = fields.find("id");
    c.id = id == nullptr ? fmt::format("{}-{}", task_.name, rows_)
                         : fmt::format("{}-{}", task_.name,
                                       id->is_string() ? id->get<std::string>() : id->dump());
    try {
      for (const auto& value : metrics::infinitebench_label(c.value).values) {
        c.answers.push_back(std::visit([](const auto& v) { return fmt::format("{}", v); }, value));
      }
      // Multiple choice: the reference knows the option by its text and by its letter.
      if (!c.options.empty() && !c.answers.empty()) {
        const auto at = std::find(c.options.begin(), c.options.end(), c.answers.front());
        OB_REQUIRE(at != c.options.end(), Corrupt, "the answer {} is none of the options",
                   printable(c.answers.front()));
        c.label = static_cast<size_t>(at - c.options.begin());
        c.value =
            json::array({c.answers.front(), std::string(1, static_cast<char>('A' + *c.label))});
      }
    } catch (Error& e) {
      e.add_context(fields.where());
      throw;
    }
    to_.cases.push_back(std::move(c));
    ++rows_;
  }

  const Task& task_;
  TaskData& to_;
  std::unordered_map<std::string, size_t> by_text_;
  int64_t rows_ = 0;
};

}  // namespace

void read_questions(FileSystem& fs, const std::filesystem::path& path, const Task& task,
                    TaskData& to) {
  LineReader reader(task, to);
  compress::read_json_lines(fs, path, [&](const JsonFields& fields, int64_t) {
    reader.line(fields);
    return true;
  });
  OB_REQUIRE(!to.documents.empty(), Corrupt, "{} holds no line", path.string());
  // Rows of one text may lie apart in the file.
  std::stable_sort(to.cases.begin(), to.cases.end(),
                   [](const Case& a, const Case& b) { return a.document < b.document; });
}

}  // namespace offbook::evaluate
