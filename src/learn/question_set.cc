#include "src/learn/question_set.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "src/base/json_fields.h"
#include "src/ingest/content_hash.h"
#include "src/ingest/csv.h"
#include "src/ingest/encoding.h"
#include "src/metrics/text_scores.h"

namespace offbook::learn {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxLineBytes = uint64_t{16} << 20;

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string_view::npos
             ? ""
             : std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1));
}

std::string place(const std::filesystem::path& file, size_t line) {
  return fmt::format("{}, line {}", file.string(), line);
}

// Blank answers are left out; Corrupt where a question or every answer is blank.
void finish(GivenQuestion& given, const std::string& where) {
  given.question = trimmed(given.question);
  for (std::string& answer : given.answers) {
    answer = trimmed(answer);
  }
  std::erase(given.answers, "");
  given.document = trimmed(given.document);
  OB_REQUIRE(!given.question.empty(), Corrupt, "{}: the question is empty", where);
  OB_REQUIRE(!given.answers.empty(), Corrupt, "{}: no answer; wanted a field answers or answer",
             where);
}

std::vector<std::string> answers_of(const JsonFields& fields) {
  const nlohmann::json* list = fields.find("answers");
  if (list == nullptr) {
    return {fields.get_string("answer")};
  }
  if (list->is_string()) {
    return {list->get<std::string>()};
  }
  OB_REQUIRE(list->is_array(), Corrupt, "{}: field answers is a list of texts, not {}",
             fields.where(), list->type_name());
  std::vector<std::string> answers;
  for (const nlohmann::json& answer : *list) {
    OB_REQUIRE(answer.is_string(), Corrupt, "{}: field answers is a list of texts, it holds a {}",
               fields.where(), answer.type_name());
    answers.push_back(answer.get<std::string>());
  }
  return answers;
}

std::vector<GivenQuestion> read_jsonl(std::string_view text, const std::filesystem::path& file) {
  std::vector<GivenQuestion> out;
  size_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view one = text.substr(begin, end - begin);
    begin = end + 1;
    ++line;
    if (trimmed(one).empty()) {
      continue;
    }
    const std::string where = place(file, line);
    const nlohmann::json json = parse_json(std::as_bytes(std::span(one)), where, kMaxLineBytes);
    const JsonFields fields(json, where);
    GivenQuestion given{
        .question = fields.get_string("question"), .answers = answers_of(fields), .line = line};
    for (const char* name : {"file", "document"}) {
      given.document = fields.find_string(name).value_or(given.document);
    }
    finish(given, where);
    out.push_back(std::move(given));
  }
  return out;
}

std::vector<std::string> split_answers(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('|', begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

std::vector<GivenQuestion> read_csv(std::string_view text, const std::filesystem::path& file) {
  ingest::CsvParser parser(text, ingest::guess_delimiter(text));
  ingest::CsvRecord names, values;
  parser.next(names);
  const auto column = [&](std::initializer_list<const char*> wanted) {
    for (const char* name : wanted) {
      for (size_t i = 0; i < names.size(); ++i) {
        if (trimmed(names[i]) == name) {
          return i;
        }
      }
    }
    return names.size();
  };
  const size_t question = column({"question"});
  const size_t answers = column({"answers", "answer"});
  const size_t document = column({"document", "file"});
  OB_REQUIRE(
      question < names.size() && answers < names.size(), Corrupt,
      "{}: the first line names the columns; wanted question and answer (or answers), got {}",
      place(file, 1), printable(fmt::format("{}", fmt::join(names, ", "))));
  std::vector<GivenQuestion> out;
  while (parser.next(values)) {
    const std::string where = place(file, parser.line_of_record());
    OB_REQUIRE(values.size() > std::max(question, answers), Corrupt, "{}: {} fields, wanted {}",
               where, values.size(), names.size());
    GivenQuestion given{.question = values[question],
                        .answers = split_answers(values[answers]),
                        .document = document < values.size() ? values[document] : "",
                        .line = parser.line_of_record()};
    finish(given, where);
    out.push_back(std::move(given));
  }
  return out;
}

// Everything a document may be called → its places in the list, rising.
class DocumentNames {
 public:
  explicit DocumentNames(const std::vector<store::StoredDocument>& documents) {
    for (size_t i = 0; i < documents.size(); ++i) {
      const Document& d = documents[i].document;
      const std::filesystem::path path(d.path);
      for (const std::string& name : {d.id, d.path, path.filename().string(), path.stem().string(),
                                      (path.parent_path() / path.stem()).string(), d.title}) {
        auto& places = by_name_[name];
        if (places.empty() || places.back() != i) {
          places.push_back(i);
        }
      }
      exact_[d.id] = exact_[d.path] = i;
    }
  }

  // InvalidArgument unless exactly one document is called so.
  size_t find(const std::string& name, const std::string& where) const {
    if (const auto at = exact_.find(name); at != exact_.end()) {
      return at->second;
    }
    const auto at = by_name_.find(name);
    OB_REQUIRE(at != by_name_.end(), InvalidArgument,
               "{}: no learned document is called \"{}\"; wanted its path, file name or title",
               where, printable(name));
    OB_REQUIRE(at->second.size() == 1, InvalidArgument,
               "{}: {} learned documents are called \"{}\"; give the path", where,
               at->second.size(), printable(name));
    return at->second.front();
  }

 private:
  std::unordered_map<std::string, size_t> exact_;
  std::unordered_map<std::string, std::vector<size_t>> by_name_;
};

std::vector<int64_t> supporting(const std::vector<Passage>& passages,
                                const std::vector<std::string>& answers) {
  std::vector<int64_t> ids;
  for (const Passage& p : passages) {
    if (metrics::contains_normalized(p.text, answers) > 0) {
      ids.push_back(p.id);
    }
  }
  return ids;
}

}  // namespace

std::vector<GivenQuestion> read_question_file(FileSystem& fs, const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  OB_REQUIRE(extension == ".jsonl" || extension == ".csv" || extension == ".tsv", Unsupported,
             "{}: a question file is .jsonl, .csv or .tsv", file.string());
  const auto bytes = fs.open(file);
  OB_REQUIRE(bytes->bytes().size() <= kMaxFileBytes, Unsupported,
             "{}: {} bytes; a question file has at most {}", file.string(), bytes->bytes().size(),
             kMaxFileBytes);
  const std::string text = ingest::decode_text(bytes->bytes()).text;
  std::vector<GivenQuestion> out;
  try {
    out = extension == ".jsonl" ? read_jsonl(text, file) : read_csv(text, file);
  } catch (Error& e) {
    if (std::string_view(e.what()).find(file.string()) == std::string_view::npos) {
      e.add_context(file.string());  // the CSV parser knows the line only
    }
    throw;
  }
  OB_REQUIRE(!out.empty(), InvalidArgument, "{} holds no question", file.string());
  return out;
}

std::string example_id(const Example& example) {
  return ingest::hash_text(example.document_id + '\n' + example.question + '\n' +
                           (example.answers.empty() ? "" : example.answers.front()));
}

std::vector<Example> match_documents(store::Corpus& corpus, int64_t generation,
                                     const std::filesystem::path& file,
                                     const std::vector<GivenQuestion>& questions) {
  const std::vector<store::StoredDocument> documents = corpus.documents().list(generation);
  const DocumentNames names(documents);
  std::map<size_t, std::vector<Passage>> passages;
  std::map<std::pair<std::string, std::string>, size_t> seen;
  std::vector<Example> out;
  for (const GivenQuestion& given : questions) {
    Example example{.question = given.question, .answers = given.answers};
    if (!given.document.empty()) {
      const size_t at = names.find(given.document, place(file, given.line));
      example.document_id = documents[at].document.id;
      if (!passages.contains(at)) {
        passages[at] = corpus.documents().passages(documents[at].number);
      }
      example.passages = supporting(passages[at], given.answers);
    }
    example.id = example_id(example);
    const auto [found, is_new] =
        seen.try_emplace({example.document_id, given.question}, out.size());
    if (is_new) {
      out.push_back(std::move(example));
      continue;
    }
    Example& first = out[found->second];
    for (const std::string& answer : given.answers) {
      if (std::find(first.answers.begin(), first.answers.end(), answer) == first.answers.end()) {
        first.answers.push_back(answer);
      }
    }
  }
  return out;
}

}  // namespace offbook::learn
