// Bar: retrieval on squad, nq_multidoc and covidqa, one pooled corpus a set. A question hits when
// one of five passages holds its gold paragraph (the same document, and at least half of the
// shorter of the two spans is shared); where the set names no paragraph, when one holds an answer.
// Over the mean of the three sets, 95% intervals over documents: hybrid is above BM25 alone, above
// MiniLM alone, and not below (1.5 points) the same MiniLM with an exact search in Python
// (minilm_reference.py). Sabotaged, passages are given another passage's vectors.
#include "bench/bars/bar.h"
#include "bench/bars/pooled.h"
#include "bench/bars/records.h"

#include <array>
#include <cstdio>
#include <fstream>
#include <future>
#include <map>

#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "src/ingest/tokenizer_counter.h"
#include "src/metrics/bootstrap.h"
#include "src/metrics/text_scores.h"
#include "src/model/import/fingerprint.h"
#include "src/model/language_model.h"
#include "src/retrieve/index_stage.h"
#include "src/retrieve/retriever.h"

namespace offbook {
namespace {

using nlohmann::json;

constexpr int kTop = 5;
constexpr std::array<const char*, 3> kSets = {"squad", "nq_multidoc", "covidqa"};
enum System { kHybrid, kWords, kMeaning, kPython, kSystems };
constexpr const char* kNames[] = {"hybrid", "BM25 alone", "MiniLM alone", "MiniLM in Python"};

struct Question {
  size_t document = 0;  // in the set
  std::string text;
  std::vector<std::string> answers;
  std::optional<ByteSpan> gold;  // of the gold paragraph
};

struct Set {
  std::string name;
  std::vector<Document> documents;
  std::vector<Question> questions;
  std::vector<Passage> passages;               // of the whole corpus
  std::map<int64_t, size_t> place_of_passage;  // by the store's id
  std::vector<double> hits[kSystems];          // a 0 or 1 for each question
};

// Paragraph `index` of a text whose paragraphs are parted by blank lines.
std::optional<ByteSpan> paragraph(const std::string& text, int index) {
  size_t begin = 0;
  for (int i = 0; i < index; ++i) {
    begin = text.find("\n\n", begin);
    if (begin == std::string::npos) {
      return std::nullopt;
    }
    begin += 2;
  }
  return ByteSpan{begin, std::min(text.find("\n\n", begin), text.size())};
}

// The paragraph that begins with "[number] ".
std::optional<ByteSpan> numbered(const std::string& text, int number) {
  const std::string mark = fmt::format("[{}] ", number);
  size_t begin = text.starts_with(mark) ? 0 : text.find("\n\n" + mark);
  if (begin == std::string::npos) {
    return std::nullopt;
  }
  begin += begin == 0 ? 0 : 2;
  return ByteSpan{begin, std::min(text.find("\n\n[", begin), text.size())};
}

std::optional<ByteSpan> gold_of(const std::string& text, const json& question) {
  if (question.contains("paragraph")) {
    return paragraph(text, question["paragraph"]);
  }
  return question.contains("passage") ? numbered(text, question["passage"]) : std::nullopt;
}

bool holds(const Set& set, const Question& q, const Passage& p) {
  if (!q.gold) {
    return metrics::contains_normalized(p.text, q.answers) > 0;
  }
  if (p.document_id != set.documents[q.document].id) {
    return false;
  }
  const uint64_t begin = std::max(p.span.begin, q.gold->begin);
  const uint64_t end = std::min(p.span.end, q.gold->end);
  const uint64_t shorter = std::min(p.span.end - p.span.begin, q.gold->end - q.gold->begin);
  return begin < end && 2 * (end - begin) >= shorter;
}

void write_lines(const std::filesystem::path& path, const std::vector<std::string>& texts) {
  std::ofstream file(path);
  for (const std::string& text : texts) {
    file << json(text).dump() << '\n';
  }
}

class Bar {
 public:
  // One set after the other uses few threads; each has its own bar, and those run side by side.
  Bar(const bars::Options& options, const std::string& name)
      : options_(options),
        pool_(std::max(1, backend::default_thread_count() / static_cast<int>(kSets.size()))),
        backend_(backend::best_cpu_backend()),
        encoder_(real_file_system(), bars::model_directory() / "all-minilm-l6-v2", pool_, backend_,
                 backend::Compute::bf16),
        fingerprint_(model::encoder_fingerprint(real_file_system(),
                                                bars::model_directory() / "all-minilm-l6-v2")
                         .model),
        model_(real_file_system(), bars::model_directory() / "smollm2-135m-instruct", pool_,
               {.backend = backend_}),
        counter_(model_.tokenizer(), encoder_.tokenizer()),
        scratch_(std::filesystem::temp_directory_path() /
                 fmt::format("offbook_retrieval_{}_{}", ::getpid(), name)) {
    std::filesystem::create_directories(scratch_);
  }
  ~Bar() { std::filesystem::remove_all(scratch_); }

  // Absent when Python or its packages are missing.
  std::optional<Set> measure(const std::string& name) {
    Set set{.name = name};
    store::Corpus corpus = store::Corpus::create(scratch_ / name, {});
    const int64_t generation = corpus.generations().begin(json::object());
    fill(set, corpus, generation);
    retrieve::index_passages(corpus, generation, encoder_, fingerprint_, {});
    if (options_.sabotage) {
      mix_vectors(corpus, generation);
    }
    retrieve::Retriever retriever(
        corpus, generation, encoder_, fingerprint_,
        {.backend = backend_, .compute = backend::Compute::f32, .pool = &pool_, .arena = &arena_});
    for (const Question& q : set.questions) {
      ask(set, retriever, q, retrieve::Mode::hybrid, kHybrid);
      ask(set, retriever, q, retrieve::Mode::words, kWords);
      ask(set, retriever, q, retrieve::Mode::meaning, kMeaning);
    }
    if (!ask_python(set)) {
      return std::nullopt;
    }
    return set;
  }

 private:
  void fill(Set& set, store::Corpus& corpus, int64_t generation) {
    auto records = bars::lines_of(
        bars::decompressed(bars::data_directory() / "data" / (set.name + ".jsonl.zst")));
    if (options_.quick) {
      records.resize(4);
    }
    set.documents = bars::put_records(corpus, generation, records, counter_);
    for (size_t d = 0; d < records.size(); ++d) {
      size_t taken = 0;
      for (const json& q : records[d]["questions"]) {
        const auto answers = q["answers"].get<std::vector<std::string>>();
        if (answers.front() == "Unanswerable" || (options_.quick && taken == 10)) {
          continue;
        }
        ++taken;
        set.questions.push_back({.document = d,
                                 .text = q["question"],
                                 .answers = answers,
                                 .gold = gold_of(set.documents[d].text, q)});
      }
    }
    for (const auto& d : corpus.documents().list(generation)) {
      for (Passage& p : corpus.documents().passages(d.number)) {
        set.place_of_passage[p.id] = set.passages.size();
        set.passages.push_back(std::move(p));
      }
    }
  }

  // Every document's vectors in reverse order.
  void mix_vectors(store::Corpus& corpus, int64_t generation) {
    for (const store::VectorBlock& block : corpus.vectors().load(generation, fingerprint_)) {
      const Tensor& from = block.vectors;
      Tensor to = Tensor::empty(from.dtype(), from.shape());
      for (int64_t i = 0; i < from.dim(0); ++i) {
        std::memcpy(to.row_raw(i), from.row_raw(from.dim(0) - 1 - i),
                    static_cast<size_t>(from.row_stride_bytes()));
      }
      corpus.vectors().put(store::document_of(block.ids.data<int64_t>()[0]),
                           {.encoder = block.encoder, .ids = block.ids, .vectors = to});
    }
  }

  static void ask(Set& set, retrieve::Retriever& retriever, const Question& q, retrieve::Mode mode,
                  System system) {
    double hit = 0;
    for (const auto& r : retriever.retrieve(q.text, {.top_k = kTop, .mode = mode}).passages) {
      hit = holds(set, q, r.passage) ? 1 : hit;
    }
    set.hits[system].push_back(hit);
  }

  bool ask_python(Set& set) {
    std::vector<std::string> passages, questions;
    for (const Passage& p : set.passages) {
      passages.push_back(p.text);
    }
    for (const Question& q : set.questions) {
      questions.push_back(q.text);
    }
    const auto in = scratch_ / "passages", asked = scratch_ / "questions", out = scratch_ / "out";
    write_lines(in, passages);
    write_lines(asked, questions);
    const std::string command =
        fmt::format("'{}' '{}/minilm_reference.py' '{}' search '{}' '{}' '{}'",
                    bars::directory_from("OFFBOOK_PYTHON", "python3").string(), OB_BARS_DIRECTORY,
                    (bars::model_directory() / "all-minilm-l6-v2").string(), in.string(),
                    asked.string(), out.string());
    if (std::system(command.c_str()) != 0) {
      return false;
    }
    std::ifstream file(out);
    for (const Question& q : set.questions) {
      double hit = 0;
      for (size_t i = 0, place = 0; i < std::min<size_t>(kTop, set.passages.size()); ++i) {
        file >> place;
        hit = holds(set, q, set.passages.at(place)) ? 1 : hit;
      }
      set.hits[kPython].push_back(hit);
    }
    OB_REQUIRE(file.good(), Corrupt, "the reference gave fewer rows than questions");
    return true;
  }

  bars::Options options_;
  backend::ThreadPool pool_;
  backend::Backend backend_;
  backend::Arena arena_;
  model::SentenceEncoder encoder_;
  std::string fingerprint_;
  model::LanguageModel model_;
  ingest::TokenizerCounter counter_;
  std::filesystem::path scratch_;
};

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) {
    sum += v;
  }
  return sum / static_cast<double>(values.size());
}

void report(const Set& set) {
  size_t with_gold = 0;
  for (const Question& q : set.questions) {
    with_gold += q.gold.has_value();
  }
  std::printf("%-12s %zu documents, %zu passages, %zu questions (%zu with a gold paragraph):",
              set.name.c_str(), set.documents.size(), set.passages.size(), set.questions.size(),
              with_gold);
  for (int s = 0; s < kSystems; ++s) {
    std::printf(" %s %.1f%%%s", kNames[s], 100 * mean(set.hits[s]), s + 1 < kSystems ? "," : "\n");
  }
  std::fflush(stdout);
}

// hybrid − other over the mean of the sets, documents drawn again; the bar is low > limit
// (--quick, with few documents: the estimate itself).
bool compare(const std::vector<Set>& sets, System other, double limit, bool is_quick) {
  struct Row {
    size_t set;
    double sum = 0, questions = 0;
  };
  std::vector<Row> rows;
  for (size_t s = 0; s < sets.size(); ++s) {
    const size_t first = rows.size();
    rows.resize(first + sets[s].documents.size(), Row{s});
    for (size_t q = 0; q < sets[s].questions.size(); ++q) {
      Row& row = rows[first + sets[s].questions[q].document];
      row.sum += sets[s].hits[kHybrid][q] - sets[s].hits[other][q];
      row.questions += 1;
    }
  }
  const auto d = metrics::bootstrap_statistic(rows.size(), [&](std::span<const uint32_t> drawn) {
    std::vector<double> sum(sets.size()), questions(sets.size());
    for (const uint32_t i : drawn) {
      sum[rows[i].set] += rows[i].sum;
      questions[rows[i].set] += rows[i].questions;
    }
    double total = 0, asked = 0;
    for (size_t s = 0; s < sum.size(); ++s) {
      total += questions[s] > 0 ? sum[s] / questions[s] : 0;
      asked += questions[s] > 0;
    }
    return total / asked;
  });
  std::printf("hybrid − %-17s %+.2f points (95%% %+.2f to %+.2f, %zu documents)\n", kNames[other],
              100 * d.estimate, 100 * d.low, 100 * d.high, rows.size());
  return is_quick ? d.estimate > limit : d.low > limit;
}

bool holds_over_all(const std::vector<Set>& sets, bool is_quick) {
  const bool above_words = compare(sets, kWords, 0, is_quick);
  const bool above_meaning = compare(sets, kMeaning, 0, is_quick);
  const bool not_below_python = compare(sets, kPython, -0.015, is_quick);
  return above_words && above_meaning && not_below_python;
}

int run(const bars::Options& options) {
  for (const auto& path : {bars::data_directory() / "data/squad.jsonl.zst",
                           bars::data_directory() / "data/nq_multidoc.jsonl.zst",
                           bars::data_directory() / "data/covidqa.jsonl.zst",
                           bars::model_directory() / "smollm2-135m-instruct",
                           bars::model_directory() / "all-minilm-l6-v2"}) {
    if (!std::filesystem::exists(path)) {
      std::printf("missing: %s\n", path.c_str());
      return bars::kMissing;
    }
  }
  std::vector<std::future<std::optional<Set>>> measured;
  for (const std::string name : kSets) {
    measured.push_back(std::async(std::launch::async,
                                  [&options, name] { return Bar(options, name).measure(name); }));
  }
  std::vector<Set> sets;
  for (auto& one : measured) {
    if (auto set = one.get()) {
      report(*set);
      sets.push_back(std::move(*set));
    }
  }
  if (sets.size() < kSets.size()) {
    std::printf(
        "missing: the reference; OFFBOOK_PYTHON names a Python with numpy and tokenizers\n");
    return bars::kMissing;
  }
  const bool holds = holds_over_all(sets, options.quick);
  std::printf("retrieval: %s\n", holds ? "holds" : "falls short");
  return holds ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
