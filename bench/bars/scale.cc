// Bar: 1 GiB of text (shared text with seeded word changes, so that nothing collapses) goes through
// `offbook ingest`, BM25 included, in at most 2 GiB of memory, throughput reported; a hybrid query
// over 100,000 passages, sentence encoder included, takes at most 20 ms at p99.
// --quick: 8 MiB and 10,000 passages. Sabotaged, queries run on the reference kernels.
// usage: bar_scale OFFBOOK [ingest] [query] [--quick] [--sabotage] (8 GiB of disk under TMPDIR)
#include "bench/bars/bar.h"
#include "bench/bars/pooled.h"
#include "bench/bars/records.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/float16.h"
#include "src/base/random.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/model/import/fingerprint.h"
#include "src/model/language_model.h"
#include "src/retrieve/retriever.h"

namespace offbook {
namespace {

using Clock = std::chrono::steady_clock;
using Path = std::filesystem::path;

constexpr double kRssBarGib = 2, kP99BarMs = 20;
constexpr size_t kFileBytes = 256 << 10;

double since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

// Endless text: the shared documents in turn, every tenth word another word of the same document.
class Text {
 public:
  Text() {
    for (const auto& record : bars::lines_of(
             bars::decompressed(bars::data_directory() / "data/pretrain_heldout.jsonl.zst"))) {
      texts_.push_back(record["text"]);
    }
  }

  std::string next(size_t bytes) {
    std::string out;
    while (out.size() < bytes) {
      const std::string& text = texts_[random_.below(texts_.size())];
      const size_t begin = random_.below(text.size());
      append_changed(text.substr(begin, std::min(bytes - out.size(), text.size() - begin)), out);
      out += "\n\n";
    }
    return out;
  }

 private:
  void append_changed(std::string_view text, std::string& out) {
    std::vector<std::string_view> words;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find_first_of(" \n", at), text.size());
      words.push_back(text.substr(at, end + 1 - at));
      at = end + 1;
    }
    for (const std::string_view word : words) {
      out += random_.below(10) == 0 ? words[random_.below(words.size())] : word;
    }
  }

  std::vector<std::string> texts_;
  Random random_{17};
};

struct Ingested {
  double megabytes = 0, seconds = 0, rss_gib = 0;
};

Ingested ingest(const Path& offbook, const Path& root, uint64_t bytes, Text& text) {
  std::filesystem::create_directories(root / "docs");
  for (uint64_t done = 0; done < bytes; done += kFileBytes) {
    std::ofstream(root / "docs" / fmt::format("{:06}.txt", done / kFileBytes))
        << text.next(kFileBytes);
  }
  std::vector<std::string> words = {
      offbook,   "--corpora",    root / "corpora", "--models",    bars::model_directory(),
      "--cache", root / "cache", "ingest",         root / "docs", "--into",
      "big"};
  const std::string log = root / "log";
  const auto began = Clock::now();
  const pid_t child = ::fork();
  if (child == 0) {
    const int file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(file, 1);
    ::dup2(file, 2);
    std::vector<char*> pointers;
    for (std::string& word : words) {
      pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  int status = 0;
  rusage usage{};
  ::wait4(child, &status, 0, &usage);
  OB_REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0, Io,
             "offbook ingest ended with status {}; see {}", status, log);
  return {.megabytes = static_cast<double>(bytes) / 1e6,
          .seconds = since(began),
          .rss_gib = static_cast<double>(usage.ru_maxrss) / (1 << 20)};
}

std::vector<std::string> questions(size_t count) {
  std::vector<std::string> out;
  for (const char* set : {"squad", "nq_multidoc", "covidqa", "qasper"}) {
    const auto records = bars::lines_of(
        bars::decompressed(bars::data_directory() / "data" / (std::string(set) + ".jsonl.zst")));
    Random random(2);
    for (size_t i = 0; i < count / 4; ++i) {
      const auto& list = records[random.below(records.size())]["questions"];
      out.push_back(list[random.below(list.size())]["question"]);
    }
  }
  return out;
}

// Vectors of length 1 for a document's passages: what a scan costs does not depend on their values.
store::VectorBlock random_vectors(const std::vector<Passage>& passages, int64_t dims,
                                  const std::string& encoder, Random& random) {
  const auto n = static_cast<int64_t>(passages.size());
  store::VectorBlock block{.encoder = encoder,
                           .ids = Tensor::empty(Dtype::i64, {n}),
                           .vectors = Tensor::empty(Dtype::f32, {n, dims})};
  for (int64_t i = 0; i < n; ++i) {
    block.ids.data<int64_t>()[i] = passages[static_cast<size_t>(i)].id;
    float* row = block.vectors.data<float>() + i * dims;
    double sum = 0;
    for (int64_t k = 0; k < dims; ++k) {
      row[k] = static_cast<float>(random.normal());
      sum += static_cast<double>(row[k]) * row[k];
    }
    for (int64_t k = 0; k < dims; ++k) {
      row[k] = static_cast<float>(row[k] / std::sqrt(sum));
    }
  }
  return block;
}

double at_share(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

// p99 of hybrid queries in milliseconds.
double query_p99(const Path& root, const bars::Options& options, Text& text) {
  const int64_t passages = options.quick ? 10'000 : 100'000;
  backend::ThreadPool pool(backend::default_thread_count());
  backend::Arena arena;
  const auto backend = options.sabotage ? backend::Backend::reference : backend::best_cpu_backend();
  const auto minilm = bars::model_directory() / "all-minilm-l6-v2";
  model::SentenceEncoder encoder(real_file_system(), minilm, pool, backend, backend::Compute::bf16);
  const std::string fingerprint = model::encoder_fingerprint(real_file_system(), minilm).model;
  const model::LanguageModel model(real_file_system(),
                                   bars::model_directory() / "smollm2-135m-instruct", pool,
                                   {.backend = backend});
  const ingest::TokenizerCounter counter(model.tokenizer(), encoder.tokenizer());
  store::Corpus corpus = store::Corpus::create(root / "asked", {});
  const int64_t generation = corpus.generations().begin(nlohmann::json::object());
  Random random(9);
  int64_t stored = 0;
  {
    store::Batch batch(corpus, {});
    for (int64_t d = 0; stored < passages; ++d) {
      const std::string content = text.next(kFileBytes / 4);
      const ingest::Source source{
          .path = fmt::format("{:06}.txt", d),
          .bytes = std::as_bytes(std::span(content.data(), content.size()))};
      const Document document = ingest::read_document(source, {}).document;
      auto cut = ingest::cut_passages(document, {}, counter);
      const int64_t number = corpus.documents().put(generation, document, cut);
      corpus.vectors().put(number, random_vectors(corpus.documents().passages(number),
                                                  encoder.dim(), fingerprint, random));
      stored += static_cast<int64_t>(cut.size());
      batch.unit_done();
    }
    batch.commit();
  }
  retrieve::Retriever retriever(
      corpus, generation, encoder, fingerprint,
      {.backend = backend, .compute = backend::Compute::f32, .pool = &pool, .arena = &arena});
  const auto texts = questions(options.sabotage ? 8 : options.quick ? 200 : 1000);
  double p99 = 0;
  for (const auto& [name, mode] :
       {std::pair{"words", retrieve::Mode::words}, std::pair{"meaning", retrieve::Mode::meaning},
        std::pair{"hybrid", retrieve::Mode::hybrid}}) {
    retriever.retrieve("a first question opens everything", {.mode = mode});
    std::vector<double> ms;
    for (const std::string& question : texts) {
      const auto began = Clock::now();
      retriever.retrieve(question, {.mode = mode});
      ms.push_back(1000 * since(began));
    }
    p99 = at_share(ms, 0.99);
    std::printf("%s over %lld passages: %zu questions, p50 %.1f ms, p99 %.1f ms, max %.1f ms\n",
                name, static_cast<long long>(stored), ms.size(), at_share(ms, 0.5), p99,
                at_share(ms, 1));
    std::fflush(stdout);
  }
  return p99;
}

int run(int argc, char** argv) {
  bars::Options options = bars::parse(argc, argv);
  if (argc < 2 || argv[1][0] == '-') {
    std::printf("usage: bar_scale OFFBOOK [ingest] [query] [--quick] [--sabotage]\n");
    return 2;
  }
  for (const Path& path : {bars::data_directory() / "data/pretrain_heldout.jsonl.zst",
                           Path(argv[1]), bars::model_directory() / "smollm2-135m-instruct",
                           bars::model_directory() / "all-minilm-l6-v2"}) {
    if (!std::filesystem::exists(path)) {
      std::printf("missing: %s\n", path.c_str());
      return bars::kMissing;
    }
  }
  const Path root =
      std::filesystem::temp_directory_path() / fmt::format("offbook_scale_{}", ::getpid());
  options.names.erase(options.names.begin());  // the program
  std::filesystem::create_directories(root);
  Text text;
  bool holds = true;
  if (options.asks_for("ingest")) {
    const Ingested in = ingest(std::filesystem::absolute(argv[1]), root,
                               uint64_t{options.quick ? 8u : 1024u} << 20, text);
    std::printf("ingest: %.0f MB in %.0f s (%.2f MB/s), at most %.2f GiB of memory (bar %.1f)\n",
                in.megabytes, in.seconds, in.megabytes / in.seconds, in.rss_gib, kRssBarGib);
    std::fflush(stdout);
    holds = in.rss_gib <= kRssBarGib;
  }
  if (options.asks_for("query")) {
    const double p99 = query_p99(root, options, text);
    std::printf("hybrid query: p99 %.1f ms (bar %.0f)\n", p99, kP99BarMs);
    holds = holds && p99 <= kP99BarMs;
  }
  std::filesystem::remove_all(root);
  std::printf("scale: %s\n", holds ? "holds" : "falls short");
  return holds ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  try {
    return offbook::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
