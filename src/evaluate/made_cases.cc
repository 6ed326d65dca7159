#include "src/evaluate/made_cases.h"

#include <algorithm>

#include "src/base/error.h"
#include "src/compress/json_lines.h"
#include "src/evaluate/generators/infinitebench.h"
#include "src/evaluate/generators/needle.h"
#include "src/evaluate/generators/ruler.h"
#include "src/evaluate/question_files.h"
#include "src/evaluate/token_text.h"
#include "src/ingest/sentences.h"

namespace offbook::evaluate {
namespace {

void add(GeneratedCase made, const std::string& id, int64_t length, TaskData& to) {
  to.documents.push_back({.id = id, .text = std::move(made.context)});
  to.cases.push_back({.id = id,
                      .document = to.documents.size() - 1,
                      .question = std::move(made.question),
                      .answers = std::move(made.answers),
                      .wants_all = made.wants_all,
                      .value = std::move(made.label),
                      .type = made.task,
                      .stem = std::move(made.answer_stem),
                      .example = std::move(made.example),
                      .depth = made.depth,
                      .length = length});
}

// The longest text of a file of plain texts or documents: a book, where there is one.
std::string longest_text(FileSystem& fs, const std::filesystem::path& path) {
  std::string longest;
  compress::read_json_lines(fs, path, [&](const JsonFields& fields, int64_t) {
    std::string text = fields.get_string("text");
    if (text.size() > longest.size()) {
      longest = std::move(text);
    }
    return true;
  });
  OB_REQUIRE(!longest.empty(), Corrupt, "{} holds no text", path.string());
  return longest;
}

// What RULER's qa tasks are made of, from documents whose paragraphs are apart by blank lines: a
// question goes with the first paragraph that holds its answer.
struct RulerTexts {
  std::vector<std::string> documents;
  std::vector<RulerQuestion> questions;
};

RulerTexts paragraphs_with_questions(FileSystem& fs, const Task& task,
                                     const std::filesystem::path& path) {
  Task plain = task;
  plain.source = Source::documents;
  TaskData data{.task = &plain};
  read_questions(fs, path, plain, data);
  RulerTexts out;
  std::vector<std::pair<size_t, size_t>> range;  // of paragraphs, by document
  for (const CaseDocument& document : data.documents) {
    const size_t first = out.documents.size();
    for (const ByteSpan& span : ingest::split_paragraphs(document.text)) {
      out.documents.push_back(document.text.substr(span.begin, span.end - span.begin));
    }
    range.emplace_back(first, out.documents.size());
  }
  for (const Case& c : data.cases) {
    const auto [first, last] = range[c.document];
    for (size_t p = first; p < last; ++p) {
      if (out.documents[p].find(c.answers.front()) != std::string::npos) {
        RulerQuestion question{.question = c.question, .answers = c.answers};
        question.documents = {static_cast<int32_t>(p)};
        for (size_t near = first; near < last; ++near) {
          if (near != p) {
            question.near_documents.push_back(static_cast<int32_t>(near));
          }
        }
        out.questions.push_back(std::move(question));
        break;
      }
    }
  }
  OB_REQUIRE(!out.questions.empty(), Corrupt, "{}: no answer stands in a paragraph", path.string());
  return out;
}

class Maker {
 public:
  Maker(FileSystem& fs, const Task& task, const CaseOptions& options,
        const text::Tokenizer& tokenizer, TaskData& to)
      : fs_(fs), task_(task), options_(options), count_(counter_of(tokenizer)), to_(to) {}

  void needles() {
    const std::string haystack = text_of(task_.haystack);
    const std::vector<double> depths = even_grid(0, 1, options_.depths);
    for (const int64_t length : options_.lengths) {
      for (size_t d = 0; d < depths.size() && to_.absent.empty(); ++d) {
        for (int64_t i = 0; i < cases(1); ++i) {
          const NeedleSpec spec{
              .kind = task_.generator == "needle_fixed" ? NeedleKind::fixed : NeedleKind::random,
              .tokens = length,
              .depth = depths[d],
              .seed = options_.seed,
              .index = static_cast<int64_t>(d) * 1000 + i};
          GeneratedCase made = make_needle(spec, haystack, count_);
          made.depth = depths[d];
          add(std::move(made), fmt::format("{}-{}-{}-{}", task_.name, length, d, i), length, to_);
        }
      }
    }
  }

  void infinitebench() {
    for (const int64_t length : options_.lengths) {
      // Prompt and answer have their place in the window, too.
      const int64_t room = std::max<int64_t>(64, length - 160 - task_.max_tokens);
      const int64_t units = fitting_units(*task_.infinitebench, room, count_);
      const int64_t n = cases(10);
      for (int64_t i = 0; i < n; ++i) {
        add(make_infinitebench({.task = *task_.infinitebench,
                                .units = units,
                                .index = i,
                                .count = n,
                                .seed = options_.seed},
                               count_),
            fmt::format("{}-{}-{}", task_.name, length, i), length, to_);
      }
    }
  }

  void ruler() {
    const RulerTask which = ruler_task(task_.generator);
    std::string essay;
    RulerTexts texts;
    RulerSources sources;
    if (!task_.haystack.empty()) {
      essay = text_of(task_.haystack);
      sources.essay = essay;
    }
    if (!task_.passages.empty() && to_.absent.empty()) {
      if (const auto path = path_of(task_.passages)) {
        texts = paragraphs_with_questions(fs_, task_, *path);
        sources.documents = texts.documents;
        sources.questions = texts.questions;
      }
    }
    if (!to_.absent.empty()) {
      return;
    }
    for (const int64_t length : options_.lengths) {
      for (int64_t i = 0; i < cases(10); ++i) {
        add(make_ruler({.task = which, .tokens = length - 96, .index = i, .seed = options_.seed},
                       sources, count_),
            fmt::format("{}-{}-{}", task_.name, length, i), length, to_);
      }
    }
  }

 private:
  int64_t cases(int64_t otherwise) const {
    const int64_t n = task_.cases > 0 ? task_.cases : otherwise;
    return options_.limit > 0 ? std::min(n, options_.limit) : n;
  }
  std::optional<std::filesystem::path> path_of(const std::filesystem::path& name) {
    const auto path = find_data(fs_, name, options_.data);
    if (!path) {
      to_.absent = fmt::format("no file {} in {}", name.string(), options_.data.string());
    }
    return path;
  }
  std::string text_of(const std::filesystem::path& name) {
    const auto path = path_of(name);
    return path ? longest_text(fs_, *path) : "";
  }

  FileSystem& fs_;
  const Task& task_;
  const CaseOptions& options_;
  TokenCount count_;
  TaskData& to_;
};

}  // namespace

void make_cases(FileSystem& fs, const Task& task, const CaseOptions& options,
                const text::Tokenizer& tokenizer, TaskData& to) {
  Maker maker(fs, task, options, tokenizer, to);
  to.part = "made";
  to.learned_may_run = true;
  if (task.source == Source::needle) {
    maker.needles();
  } else if (task.source == Source::generated) {
    maker.infinitebench();
  } else {
    maker.ruler();
  }
}

}  // namespace offbook::evaluate
