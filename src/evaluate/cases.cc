#include "src/evaluate/cases.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include <fnmatch.h>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/evaluate/made_cases.h"
#include "src/evaluate/question_files.h"
#include "src/evaluate/token_text.h"
#include "src/store/hash.h"

namespace offbook::evaluate {
namespace {

// The same number for the same seed and id everywhere.
uint64_t order_key(uint64_t seed, std::string_view id) {
  uint64_t key = 14695981039346656037ull;  // FNV-1a
  for (const char c : id) {
    key = (key ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  }
  return Random(key ^ (seed * 0x9e3779b97f4a7c15ull)).bits();
}

bool is_in(Part part, const CaseDocument& document) {
  switch (part) {
    case Part::train:
      return metrics::split_part(document.id) == metrics::SplitPart::train;
    case Part::tune:
      return metrics::split_part(document.id) == metrics::SplitPart::tune;
    case Part::test:
      return metrics::split_part(document.id) == metrics::SplitPart::test;
    case Part::all:
      return true;
  }
  OB_CHECK(false);
}

// Keeps the documents for which `keep` and numbers them anew.
void keep_documents(TaskData& data, const std::vector<bool>& keep) {
  std::vector<size_t> number(data.documents.size());
  std::vector<CaseDocument> documents;
  for (size_t d = 0; d < data.documents.size(); ++d) {
    number[d] = documents.size();
    if (keep[d]) {
      documents.push_back(std::move(data.documents[d]));
    }
  }
  std::vector<Case> cases;
  for (Case& c : data.cases) {
    if (keep[c.document]) {
      c.document = number[c.document];
      cases.push_back(std::move(c));
    }
  }
  data.documents = std::move(documents);
  data.cases = std::move(cases);
}

void choose_part(const Task& task, const CaseOptions& options, TaskData& data) {
  const bool is_small = data.documents.size() < metrics::kSplitDocuments;
  data.learned_may_run = is_small || task.is_test_only || options.part == Part::test;
  if (is_small || task.is_test_only) {
    data.part = "all";
    return;
  }
  static constexpr std::string_view kNames[] = {"train", "tune", "test", "all"};
  data.part = kNames[static_cast<size_t>(options.part)];
  std::vector<bool> keep;
  for (const CaseDocument& document : data.documents) {
    keep.push_back(is_in(options.part, document));
  }
  keep_documents(data, keep);
}

// Of a set of long documents so many of the shortest stay.
constexpr size_t kFewDocuments = 4;

void leave_out_long(const CaseOptions& options, TaskData& data) {
  if (options.max_bytes == 0) {
    return;
  }
  std::vector<size_t> sizes;
  for (const CaseDocument& document : data.documents) {
    sizes.push_back(document.text.size());
  }
  std::sort(sizes.begin(), sizes.end());
  const size_t few = sizes[std::min(sizes.size(), kFewDocuments) - 1];
  std::vector<bool> keep;
  for (const CaseDocument& document : data.documents) {
    keep.push_back(document.text.size() <= std::max(few, static_cast<size_t>(options.max_bytes)));
  }
  keep_documents(data, keep);
}

// `limit` questions of as many documents as possible: the first of every document, in an order that
// only the seed and the ids decide, then the second …
void choose_questions(const CaseOptions& options, TaskData& data) {
  if (options.limit <= 0 || static_cast<int64_t>(data.cases.size()) <= options.limit) {
    return;
  }
  std::vector<std::vector<std::pair<uint64_t, size_t>>> of_document(data.documents.size());
  for (size_t i = 0; i < data.cases.size(); ++i) {
    of_document[data.cases[i].document].emplace_back(order_key(options.seed, data.cases[i].id), i);
  }
  std::vector<std::pair<uint64_t, size_t>> documents;
  for (size_t d = 0; d < of_document.size(); ++d) {
    std::sort(of_document[d].begin(), of_document[d].end());
    documents.emplace_back(order_key(options.seed, data.documents[d].id), d);
  }
  std::sort(documents.begin(), documents.end());
  std::vector<bool> keep(data.cases.size(), false);
  int64_t kept = 0;
  for (size_t round = 0; kept < options.limit; ++round) {
    for (const auto& [key, d] : documents) {
      if (round < of_document[d].size() && kept < options.limit) {
        keep[of_document[d][round].second] = true;
        ++kept;
      }
    }
  }
  std::vector<Case> cases;
  std::vector<bool> used(data.documents.size(), false);
  for (size_t i = 0; i < data.cases.size(); ++i) {
    if (keep[i]) {
      used[data.cases[i].document] = true;
      cases.push_back(std::move(data.cases[i]));
    }
  }
  data.cases = std::move(cases);
  keep_documents(data, used);
}

void choose_types(const Task& task, TaskData& data) {
  if (!task.types.empty()) {
    std::erase_if(data.cases, [&](const Case& c) {
      return std::find(task.types.begin(), task.types.end(), c.type) == task.types.end();
    });
  }
}

void cut_documents(const Task& task, const text::Tokenizer& tokenizer, TaskData& data) {
  if (task.max_document_tokens == 0) {
    return;
  }
  for (CaseDocument& document : data.documents) {
    const std::string_view kept = first_tokens(tokenizer, document.text, task.max_document_tokens);
    if (kept.size() < document.text.size()) {
      const size_t line = kept.rfind('\n');
      document.text.resize(line == std::string_view::npos || line == 0 ? kept.size() : line);
    }
  }
}

// A case per document: its beginning, and what follows.
void make_continuations(const Task& task, const text::Tokenizer& tokenizer, TaskData& data) {
  data.cases.clear();
  std::vector<bool> keep;
  for (size_t d = 0; d < data.documents.size(); ++d) {
    CaseDocument& document = data.documents[d];
    const text::Encoding tokens = plain_tokens(tokenizer, document.text);
    const auto begin = static_cast<size_t>(task.context_tokens);
    const size_t end = begin + static_cast<size_t>(task.continuation_tokens);
    keep.push_back(tokens.ids.size() >= end);
    if (keep.back()) {
      const std::string_view head = first_tokens(tokenizer, document.text, task.context_tokens);
      const size_t stop = tokens.spans[end - 1].end;
      data.cases.push_back({.id = document.id + "#continuation",
                            .document = d,
                            .answers = {""},
                            .continuation = document.text.substr(head.size(), stop - head.size())});
      document.text.resize(head.size());
    }
  }
  keep_documents(data, keep);
}

void ask_each_document(const Task& task, TaskData& data) {
  data.cases.clear();
  for (size_t d = 0; d < data.documents.size(); ++d) {
    data.cases.push_back({.id = data.documents[d].id + "#" + task.name,
                          .document = d,
                          .question = task.question,
                          .answers = {data.documents[d].text}});
  }
}

std::string text_hash(std::string_view text) {
  return store::to_hex(store::Hasher().add_text(text).digest());
}

}  // namespace

Part part_named(std::string_view name) {
  if (name == "train" || name == "tune" || name == "test" || name == "all") {
    return name == "train"  ? Part::train
           : name == "tune" ? Part::tune
           : name == "test" ? Part::test
                            : Part::all;
  }
  OB_THROW(InvalidArgument, "a part is train, tune, test or all, not {}", printable(name));
}

std::optional<std::filesystem::path> find_data(FileSystem& fs, const std::filesystem::path& name,
                                               const std::filesystem::path& data) {
  for (const std::filesystem::path& path : {name, data / name, data / "data" / name}) {
    if (fs.stat(path)) {
      return path;
    }
  }
  return std::nullopt;
}

TaskData load_cases(FileSystem& fs, const Task& task, const CaseOptions& options,
                    const text::Tokenizer& tokenizer) {
  TaskData data{.task = &task};
  if (task.source != Source::documents && task.source != Source::infinitebench) {
    make_cases(fs, task, options, tokenizer, data);
  } else if (const auto path = find_data(fs, task.data, options.data)) {
    read_questions(fs, *path, task, data);
    choose_part(task, options, data);
    leave_out_long(options, data);
    cut_documents(task, tokenizer, data);
    if (task.measure == Measure::continuation) {
      make_continuations(task, tokenizer, data);
    } else if (!task.question.empty()) {
      ask_each_document(task, data);
    }
    choose_types(task, data);
    choose_questions(options, data);
  } else {
    data.absent = fmt::format("no file {} in {}", task.data.string(), options.data.string());
  }
  for (CaseDocument& document : data.documents) {
    document.hash = text_hash(document.text);
  }
  return data;
}

std::vector<int64_t> parse_lengths(std::string_view text, std::string_view option) {
  const auto fail = [&] {
    OB_THROW(InvalidArgument,
             "{} wants lengths such as 4096, 4k, 1k,2k,4k or 1k..32k (ten of them), not {}", option,
             printable(text));
  };
  const auto number = [&](std::string_view item) {
    int64_t n = 0;
    const auto [stop, error] = std::from_chars(item.data(), item.data() + item.size(), n);
    const std::string_view rest(stop, static_cast<size_t>(item.data() + item.size() - stop));
    if (error != std::errc() || n < 1 || n > (1 << 24) || (!rest.empty() && rest != "k")) {
      fail();
    }
    return rest == "k" ? n * 1024 : n;
  };
  std::vector<int64_t> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view item = text.substr(begin, end - begin);
    if (const size_t dots = item.find(".."); dots != std::string_view::npos) {
      const int64_t first = number(item.substr(0, dots));
      const int64_t last = number(item.substr(dots + 2));
      if (last <= first) {
        fail();
      }
      for (int i = 0; i < 10; ++i) {
        out.push_back(first + (last - first) * i / 9);
      }
    } else {
      out.push_back(number(item));
    }
    begin = end + 1;
  }
  return out;
}

}  // namespace offbook::evaluate
