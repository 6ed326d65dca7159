// Bar: citations and answers with default settings. 200 questions each of squad and covidqa, one
// pooled corpus a set, and the questions of examples/. The passage cited first holds the gold
// answer in ≥ 70% / 60% / 80%; another passage of the corpus in its place in ≤ 10%; of the
// examples' answers ≥ 60% hold the expected phrase. Sabotaged, the wrong passage is cited.
// --apart: passages read apart (`ask --reading apart`).
// usage: bar_citations [--quick] [--sabotage] [--apart] [examples] [squad] [covidqa]
#include "bench/bars/bar.h"
#include "bench/bars/pooled.h"
#include "bench/bars/records.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "src/answer/answerer.h"
#include "src/base/random.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/learn/ingest_stage.h"
#include "src/metrics/text_scores.h"
#include "src/model/import/fingerprint.h"
#include "src/retrieve/index_stage.h"

namespace offbook {
namespace {

using bars::lines_of;
using nlohmann::json;

struct Question {
  std::string text;
  std::vector<std::string> answers;
};

struct Set {
  std::string name;
  double cited_bar = 0;
  double answer_bar = 0;
  std::filesystem::path folder;  // either a folder of files…
  std::vector<json> records;     // …or records with text
  std::vector<Question> questions;
};

// The same questions every time: an order that only the ids decide.
std::vector<Question> sample(const std::vector<json>& records, size_t count) {
  std::vector<std::pair<uint64_t, Question>> all;
  for (const json& record : records) {
    for (const json& q : record["questions"]) {
      const auto answers = q["answers"].get<std::vector<std::string>>();
      if (answers.front() == "Unanswerable") {
        continue;
      }
      uint64_t key = 14695981039346656037ull;  // FNV-1a
      for (const char c : q["id"].get<std::string>()) {
        key = (key ^ static_cast<unsigned char>(c)) * 1099511628211ull;
      }
      all.emplace_back(Random(key).bits(), Question{q["question"], answers});
    }
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Question> questions;
  for (size_t i = 0; i < std::min(count, all.size()); ++i) {
    questions.push_back(all[i].second);
  }
  return questions;
}

Set shared_set(const std::string& name, double bar, const bars::Options& options) {
  Set set{.name = name, .cited_bar = bar};
  set.records =
      lines_of(bars::decompressed(bars::data_directory() / "data" / (name + ".jsonl.zst")));
  if (options.quick) {
    set.records.resize(3);
  }
  set.questions = sample(set.records, options.quick ? 12 : 200);
  return set;
}

Set example_set() {
  Set set{.name = "examples", .cited_bar = 0.8, .answer_bar = 0.6, .folder = "examples/documents"};
  const auto file = real_file_system().open("examples/questions.jsonl");
  for (const json& q : lines_of(std::string(reinterpret_cast<const char*>(file->bytes().data()),
                                            file->bytes().size()))) {
    set.questions.push_back({q["question"], q["answers"].get<std::vector<std::string>>()});
  }
  return set;
}

class Machine {
 public:
  Machine()
      : pool_(backend::default_thread_count()),
        backend_(backend::best_cpu_backend()),
        encoder_(real_file_system(), bars::model_directory() / "all-minilm-l6-v2", pool_, backend_,
                 backend::Compute::bf16),
        fingerprint_(model::encoder_fingerprint(real_file_system(),
                                                bars::model_directory() / "all-minilm-l6-v2")
                         .model),
        model_(real_file_system(), bars::model_directory() / "smollm2-135m-instruct", pool_,
               {.backend = backend_}),
        decoder_(model_.make_decoder(pool_, 12'288)),
        memory_(model_.llama(), model_.fingerprint(), decoder_.ctx(), nullptr),
        counter_(model_.tokenizer(), encoder_.tokenizer()) {}

  // Share of questions whose first cited passage holds the answer; prints the rest.
  bool measure(const Set& set, const bars::Options& options) {
    const auto directory = std::filesystem::temp_directory_path() /
                           fmt::format("offbook_citations_{}_{}", ::getpid(), set.name);
    store::Corpus corpus = store::Corpus::create(directory, {});
    const bool holds = measure_in(corpus, set, options);
    std::filesystem::remove_all(directory);
    return holds;
  }

 private:
  int64_t learn(store::Corpus& corpus, const Set& set) {
    const int64_t generation = corpus.generations().begin(json::object());
    if (!set.folder.empty()) {
      learn::IngestOptions options;
      learn::run_ingest(corpus, generation,
                        learn::plan_ingest(corpus, generation, set.folder, options), counter_,
                        options);
    }
    bars::put_records(corpus, generation, set.records, counter_);
    return generation;
  }

  bool measure_in(store::Corpus& corpus, const Set& set, const bars::Options& options) {
    const int64_t generation = learn(corpus, set);
    retrieve::index_passages(corpus, generation, encoder_, fingerprint_, {});
    retrieve::Retriever retriever(
        corpus, generation, encoder_, fingerprint_,
        {.backend = backend_, .compute = backend::Compute::f32, .pool = &pool_, .arena = &arena_});
    answer::Answerer answerer(retriever, model_, decoder_);
    std::vector<Passage> all;
    for (const auto& d : corpus.documents().list(generation)) {
      for (Passage& p : corpus.documents().passages(d.number)) {
        all.push_back(std::move(p));
      }
    }
    Random random(1);
    int cited = 0, wrong = 0, quoted = 0, answered = 0, supported = 0, found = 0, right = 0;
    double f1 = 0;
    for (const Question& q : set.questions) {
      answer::AskOptions ask;
      ask.passage_memory = options.apart ? &memory_ : nullptr;
      const answer::AskResult r = answerer.ask(q.text, ask);
      const Passage& other = all[random.below(all.size())];
      std::string passage, quote;
      if (!r.answer.citations.empty()) {
        passage = corpus.documents().passage(r.answer.citations.front().passage_id).text;
        quote = r.answer.citations.front().quote;
      }
      const bool is_wrong = metrics::contains_normalized(other.text, q.answers) > 0;
      const bool is_cited =
          options.sabotage ? is_wrong : metrics::contains_normalized(passage, q.answers) > 0;
      const bool is_right = metrics::contains_normalized(r.answer.text, q.answers) > 0;
      cited += is_cited;
      wrong += is_wrong;
      quoted += metrics::contains_normalized(quote, q.answers) > 0;
      answered += is_right;
      supported += r.answer.support == Answer::Support::cited;
      right += is_right && r.answer.support == Answer::Support::cited;
      f1 += metrics::token_f1(r.answer.text, q.answers);
      for (const auto& p : r.retrieval.passages) {
        if (metrics::contains_normalized(p.passage.text, q.answers) > 0) {
          ++found;
          break;
        }
      }
    }
    const auto n = static_cast<double>(set.questions.size());
    std::printf("%-9s %zu documents, %zu passages, %zu questions\n", set.name.c_str(),
                corpus.documents().list(generation).size(), all.size(), set.questions.size());
    std::printf("  answer in one of the passages found %5.1f%%, in the sentence quoted %5.1f%%\n",
                100 * found / n, 100 * quoted / n);
    std::printf("  answer given holds the gold answer  %5.1f%%, token F1 %.3f\n",
                100 * answered / n, f1 / n);
    std::printf("  marked as cited %5.1f%%; of these right %5.1f%%, of the others %5.1f%%\n",
                100 * supported / n, supported > 0 ? 100.0 * right / supported : 0,
                supported < n ? 100.0 * (answered - right) / (n - supported) : 0);
    std::printf(
        "  cited passage holds the gold answer %5.1f%% (bar %.0f%%), another passage %.1f%%"
        " (bar 10%%)\n",
        100 * cited / n, 100 * set.cited_bar, 100 * wrong / n);
    std::fflush(stdout);
    return cited / n >= set.cited_bar && wrong / n <= 0.10 && answered / n >= set.answer_bar;
  }

  backend::ThreadPool pool_;
  backend::Backend backend_;
  backend::Arena arena_;
  model::SentenceEncoder encoder_;
  std::string fingerprint_;
  model::LanguageModel model_;
  model::Decoder decoder_;
  answer::PassageMemory memory_;
  ingest::TokenizerCounter counter_;
};

int run(const bars::Options& options) {
  for (const auto& path : {bars::data_directory() / "data/squad.jsonl.zst",
                           bars::data_directory() / "data/covidqa.jsonl.zst",
                           bars::model_directory() / "smollm2-135m-instruct",
                           bars::model_directory() / "all-minilm-l6-v2"}) {
    if (!std::filesystem::exists(path)) {
      std::printf("missing: %s\n", path.c_str());
      return bars::kMissing;
    }
  }
  Machine machine;
  int held = 0, sets = 0;
  const auto measure = [&](const char* name, const auto& make) {
    if (options.asks_for(name)) {
      held += machine.measure(make(), options);
      ++sets;
    }
  };
  measure("examples", example_set);
  measure("squad", [&] { return shared_set("squad", 0.70, options); });
  measure("covidqa", [&] { return shared_set("covidqa", 0.60, options); });
  std::printf("citations: %d of %d sets hold\n", held, sets);
  return sets > 0 && held == sets ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
