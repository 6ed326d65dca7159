#include "src/compress/data/build.h"

#include <algorithm>
#include <regex>
#include <set>

#include "src/base/random.h"
#include "src/compress/data/rule_tasks.h"
#include "src/compress/data/shingles.h"
#include "src/compress/json_lines.h"

namespace offbook::compress {
namespace {

constexpr int32_t kMostQuestionTokens = 160;  // longer prompts and answers are left out
constexpr int32_t kMostAnswerTokens = 320;

std::string text_of(const JsonFields& record) {
  return record.get_string("text");
}

std::string name_of(const JsonFields& record) {
  return record.find_string("id").value_or(record.find_string("title").value_or(""));
}

// Question sets that are cut in parts, by file: the number of documents decides (metrics/split.h).
class Parts {
 public:
  Parts(FileSystem& fs, const std::filesystem::path& data) : fs_(fs), data_(data) {}

  bool is_in(const std::string& file, const std::string& id, metrics::SplitPart part) {
    const auto [at, is_new] = sizes_.emplace(file, 0);
    if (is_new) {
      read_json_lines(fs_, data_ / file, [&](const JsonFields&, int64_t) {
        ++at->second;
        return true;
      });
    }
    OB_REQUIRE(at->second >= metrics::kSplitDocuments, InvalidArgument,
               "{}: {} documents have no parts, at least {} are needed", file, at->second,
               metrics::kSplitDocuments);
    return metrics::split_part(id) == part;
  }

 private:
  FileSystem& fs_;
  std::filesystem::path data_;
  std::map<std::string, size_t> sizes_;
};

class Builder {
 public:
  Builder(FileSystem& fs, const DataBase& base, const DataRecipe& recipe,
          const DataBuildOptions& options)
      : fs_(fs),
        base_(base),
        recipe_(recipe),
        options_(options),
        parts_(fs, options.data),
        random_(recipe.seed),
        stop_(text::chat_stop_ids(base.tokenizer, base.chat_format)) {
    set_.tokenizer = base.fingerprint.family;
    set_.recipe = recipe.hash;
  }

  DataReport run() {
    OB_REQUIRE(!stop_.empty(), InvalidArgument, "the model has no token that ends an answer");
    check_out();
    read_apart();
    for (const RecipeSource& source : recipe_.sources) {
      read(source);
    }
    refuse_overlaps();
    OB_REQUIRE(!set_.documents.empty(), InvalidArgument, "the recipe {} takes no document",
               recipe_.name);
    write();
    return report_;
  }

 private:
  void check_out() {
    fs_.create_directories(options_.out);
    for (const std::string& name : fs_.list(options_.out)) {
      OB_REQUIRE(!name.ends_with(".shard"), InvalidArgument,
                 "{} holds shards already: remove them or name another directory",
                 options_.out.string());
    }
  }

  void progress(const std::string& file) {
    if (options_.on_progress) {
      OB_REQUIRE(options_.on_progress(file, static_cast<int64_t>(set_.documents.size())), Cancelled,
                 "stopped before anything was written");
    }
  }

  void read_apart() {
    for (const DataRecipe::Apart& apart : recipe_.apart) {
      read_json_lines(fs_, options_.data / apart.file, [&](const JsonFields& record, int64_t line) {
        const std::string id = name_of(record);
        if (!apart.is_split || parts_.is_in(apart.file, id, metrics::SplitPart::test)) {
          apart_.add(fmt::format("{} ({}, line {})", id, apart.file, line), text_of(record));
        }
        return true;
      });
      progress(apart.file);
    }
    apart_.finish();
  }

  // Meetings are documents of a question set as well.
  bool is_kept_apart(const JsonFields& record) {
    const auto id = record.find_string("qa_id");
    return id && metrics::split_part(*id) != metrics::SplitPart::train;
  }

  bool is_wanted(const RecipeSource& source, const JsonFields& record, const std::string& group) {
    const std::string id = name_of(record);
    if (source.part && !parts_.is_in(source.file, id, *source.part)) {
      return false;
    }
    if (!source.id_pattern.empty() && !std::regex_match(id, std::regex(source.id_pattern))) {
      return false;
    }
    if (!source.groups.empty() && !source.groups.contains(group)) {
      return false;
    }
    const auto listed = [&](const std::string& name) {
      return std::find(recipe_.leave_out.begin(), recipe_.leave_out.end(), name) !=
             recipe_.leave_out.end();
    };
    return !is_kept_apart(record) && !listed(id) &&
           !listed(record.find_string("title").value_or(""));
  }

  std::string licence_of(const RecipeSource& source, const JsonFields& record) {
    std::string licence = record.find_string("licence").value_or(source.licence);
    OB_REQUIRE(!licence.empty(), InvalidArgument, "{}: no licence", record.where());
    OB_REQUIRE(source.licences.empty() || std::find(source.licences.begin(), source.licences.end(),
                                                    licence) != source.licences.end(),
               InvalidArgument, "{}: the licence \"{}\" is not among those the recipe allows",
               record.where(), printable(licence));
    return licence;
  }

  void read(const RecipeSource& source) {
    SourceReport report{.file = source.file};
    read_json_lines(fs_, options_.data / source.file, [&](const JsonFields& record, int64_t) {
      const std::string group =
          record.find_string("group").value_or(record.find_string("domain").value_or(source.group));
      if (!is_wanted(source, record, group)) {
        ++report.left_out;
        return true;
      }
      add(source, record, group, report);
      progress(source.file);
      return report.tokens < source.max_tokens;
    });
    report_.sources.push_back(report);
  }

  void add(const RecipeSource& source, const JsonFields& record, const std::string& group,
           SourceReport& report) {
    std::string text = text_of(record);
    TrainingDocument document{
        .group = group.empty() ? source.file.substr(0, source.file.find('.')) : group,
        .title = record.find_string("title").value_or(name_of(record)),
        .licence = licence_of(source, record),
        .source = record.find_string("source").value_or(name_of(record)),
        .weight = source.groups.empty() ? 1 : source.groups.at(group)};
    text::Encoding encoded = base_.tokenizer.encode(text, {.add_special = false});
    const auto most = static_cast<size_t>(
        std::min(source.max_document_tokens, source.max_tokens - report.tokens));
    if (encoded.ids.size() > most) {
      text.resize(encoded.spans[most - 1].end);
      encoded.ids.resize(most);
      encoded.spans.resize(most);
    }
    if (encoded.ids.empty() || document.weight == 0) {
      ++report.left_out;
      return;
    }
    const OverlapIndex::Overlap overlap = apart_.worst(text);
    if (overlap.share > recipe_.max_overlap && source.leaves_out_overlaps) {
      ++report.left_out;
      ++report.overlapping;
      return;
    }
    if (overlap.share > recipe_.max_overlap) {
      overlaps_.push_back(fmt::format("{} ({}): {:.1f}% stands in {}", printable(document.title),
                                      record.where(), 100 * overlap.share,
                                      printable(overlap.name)));
    } else if (overlap.share > report_.worst_overlap) {
      report_.worst_overlap = overlap.share;
      report_.worst_title = document.title;
      report_.worst_with = overlap.name;
    }
    add_examples(source, record, text, encoded, document);
    document.tokens = std::move(encoded.ids);
    report.documents += 1;
    report.tokens += static_cast<int64_t>(document.tokens.size());
    report.examples += static_cast<int64_t>(document.examples.size());
    report_.licences[document.licence] += static_cast<int64_t>(document.tokens.size());
    set_.documents.push_back(std::move(document));
  }

  void add_examples(const RecipeSource& source, const JsonFields& record, const std::string& text,
                    const text::Encoding& encoded, TrainingDocument& document) {
    const auto tokens = static_cast<int64_t>(encoded.ids.size());
    std::vector<std::pair<WordedExample, const std::string*>> worded;
    for (WordedExample& e : rule_examples(text, tokens, source.rules, random_)) {
      const bool is_quote = e.kind == ExampleKind::keywords;
      worded.emplace_back(std::move(e), is_quote ? &recipe_.quote : &recipe_.instruction);
    }
    if (source.has_questions) {
      const std::string& instruction =
          source.instruction.empty() ? recipe_.instruction : source.instruction;
      const EvidenceFinder finder(text);
      for (WordedExample& e : given_questions(source, record, finder)) {
        worded.emplace_back(std::move(e), &instruction);
      }
    }
    for (const auto& [e, instruction] : worded) {
      TrainingExample example = tokens_of(e, *instruction, encoded);
      if (static_cast<int32_t>(example.question.size()) <= kMostQuestionTokens &&
          static_cast<int32_t>(example.answer.size()) <= kMostAnswerTokens) {
        ++report_.examples[std::string(to_string(e.kind))];
        document.examples.push_back(std::move(example));
      }
    }
    std::stable_sort(document.examples.begin(), document.examples.end(),
                     [](const TrainingExample& a, const TrainingExample& b) {
                       return a.evidence_begin < b.evidence_begin;
                     });
  }

  std::vector<WordedExample> given_questions(const RecipeSource& source, const JsonFields& record,
                                             const EvidenceFinder& finder) {
    std::vector<WordedExample> out;
    const nlohmann::json* questions = record.find("questions");
    OB_REQUIRE(questions != nullptr && questions->is_array(), Corrupt, "{}: no questions",
               record.where());
    for (const nlohmann::json& q : *questions) {
      const JsonFields fields(q, record.where() + ": questions");
      const nlohmann::json* answers = fields.find("answers");
      OB_REQUIRE(answers != nullptr && answers->is_array() && !answers->empty(), Corrupt,
                 "{}: a question without answers", fields.where());
      const size_t used = std::min(source.references, answers->size());
      for (size_t i = 0; i < used; ++i) {
        OB_REQUIRE((*answers)[i].is_string(), Corrupt, "{}: an answer is a text", fields.where());
        WordedExample example{.question = fields.get_string("question"),
                              .answer = (*answers)[i].get<std::string>()};
        example.evidence = finder.find(example.question, example.answer);
        out.push_back(std::move(example));
      }
    }
    return out;
  }

  // The prompt as `ask` builds it, cut where the memory goes.
  TrainingExample tokens_of(const WordedExample& worded, const std::string& instruction,
                            const text::Encoding& encoded) {
    const std::vector<text::ChatMessage> messages{
        {"system", recipe_.system, {}},
        {"user", fmt::format("{}\nQuestion: {}", instruction, worded.question), {0}}};
    const text::ChatPrompt chat = text::render_chat(base_.tokenizer, base_.chat_format, messages);
    const auto cut = static_cast<std::ptrdiff_t>(chat.cuts.front());
    const std::vector<int32_t> lead(chat.ids.begin(), chat.ids.begin() + cut);
    OB_CHECK(set_.lead.empty() || set_.lead == lead);
    set_.lead = lead;
    TrainingExample out{.kind = worded.kind, .question = {chat.ids.begin() + cut, chat.ids.end()}};
    out.answer =
        base_.tokenizer.encode(worded.answer, {.add_special = false, .is_continuation = true}).ids;
    out.answer.push_back(stop_.front());
    const auto begins_after = [](uint64_t at, const ByteSpan& span) { return at < span.end; };
    const auto first = std::upper_bound(encoded.spans.begin(), encoded.spans.end(),
                                        worded.evidence.begin, begins_after);
    const auto last =
        std::lower_bound(first, encoded.spans.end(), worded.evidence.end,
                         [](const ByteSpan& span, uint64_t at) { return span.begin < at; });
    if (worded.evidence.end > worded.evidence.begin) {
      out.evidence_begin = static_cast<int32_t>(first - encoded.spans.begin());
      out.evidence_end = static_cast<int32_t>(last - encoded.spans.begin());
    }
    return out;
  }

  void refuse_overlaps() const {
    constexpr size_t kNamed = 20;
    if (overlaps_.empty()) {
      return;
    }
    std::string list;
    for (size_t i = 0; i < std::min(kNamed, overlaps_.size()); ++i) {
      list += "\n  " + overlaps_[i];
    }
    OB_THROW(
        InvalidArgument,
        "{} documents share more than {:.1f}% of their {}-word shingles with text that is kept "
        "for measuring:{}",
        overlaps_.size(), 100 * recipe_.max_overlap, kShingleWords, list);
  }

  void write() {
    auto& documents = set_.documents;
    for (size_t i = 0; i + 1 < documents.size(); ++i) {
      std::swap(documents[i], documents[i + random_.below(documents.size() - i)]);
    }
    TrainingSet shard{.tokenizer = set_.tokenizer, .recipe = set_.recipe, .lead = set_.lead};
    const auto flush = [&] {
      const auto path =
          options_.out / fmt::format("{}-{:03}.shard", recipe_.name, report_.files.size());
      save_shard(fs_, path, shard);
      report_.files.push_back(path);
      shard.documents.clear();
    };
    for (TrainingDocument& d : documents) {
      shard.documents.push_back(std::move(d));
      if (shard.tokens() >= recipe_.shard_tokens) {
        flush();
      }
    }
    if (!shard.documents.empty()) {
      flush();
    }
  }

  FileSystem& fs_;
  const DataBase& base_;
  const DataRecipe& recipe_;
  const DataBuildOptions& options_;
  Parts parts_;
  Random random_;
  std::vector<int32_t> stop_;
  OverlapIndex apart_;
  std::vector<std::string> overlaps_;
  TrainingSet set_;
  DataReport report_;
};

}  // namespace

DataReport build_data(FileSystem& fs, const DataBase& base, const DataRecipe& recipe,
                      const DataBuildOptions& options) {
  return Builder(fs, base, recipe, options).run();
}

}  // namespace offbook::compress
