// BM25 over many passages: speed of storing, p50/p99 of asking, bytes on disk.
// usage: store_bench DIRECTORY [passages=100000] [queries=300]
// Words are drawn from a Zipf distribution (exponent 1.05, 60,000 words), 120 a passage, 50
// passages a document; questions have 10 words: 4 of the 50 most frequent, 6 drawn from a stored
// passage.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <random>

#include <fmt/format.h>

#include "src/store/search_text.h"

namespace {

using namespace offbook;
using Seconds = std::chrono::duration<double>;

class Words {
 public:
  Words() {
    for (int i = 0; i < kCount; ++i) {
      weights_.push_back(std::pow(i + 1.0, -1.05));
    }
    draw_ = std::discrete_distribution<int>(weights_.begin(), weights_.end());
  }
  static std::string word(int rank) {
    std::string text;
    for (uint32_t at = static_cast<uint32_t>(rank) * 2654435761u, i = 0; i < 6; ++i, at /= 20) {
      text += "bcdfghjklmnpqrtvwxzk"[at % 20];
      text += "aeiou"[(at >> 3) % 5];
    }
    return text;
  }
  std::string passage() {
    std::string text;
    for (int i = 0; i < 120; ++i) {
      text += word(draw_(random_)) + " ";
    }
    return text;
  }
  std::string question(const std::string& passage) {
    std::string text;
    for (int i = 0; i < 4; ++i) {
      text += word(static_cast<int>(random_() % 50)) + " ";
    }
    for (int i = 0; i < 6; ++i) {
      text += passage.substr(random_() % 120 * 13, 13);
    }
    return text;
  }

 private:
  static constexpr int kCount = 60'000;
  std::vector<double> weights_;
  std::discrete_distribution<int> draw_;
  std::mt19937 random_{1};
};

std::vector<std::string> fill(store::Corpus& corpus, int64_t generation, int passages) {
  Words words;
  std::vector<std::string> questions;
  store::Batch batch(corpus, {});
  for (int done = 0; done < passages; done += 50) {
    Document document{.id = fmt::format("d{}", done), .path = fmt::format("d{:07}.txt", done)};
    std::vector<Passage> cut;
    for (int i = 0; i < 50; ++i) {
      const uint64_t begin = document.text.size();
      const std::string text = words.passage();
      document.text += text;
      cut.push_back({.ordinal = i, .span = {begin, document.text.size()}, .text = text});
      if (i == 0) {
        questions.push_back(words.question(text));
      }
    }
    corpus.documents().put(generation, document, cut);
    batch.unit_done();
  }
  return questions;
}

std::vector<double> time_searches(store::TextSearcher& searcher,
                                  const std::vector<std::string>& questions, size_t count) {
  std::vector<double> ms;
  for (size_t i = 0; i < std::min(count, questions.size()); ++i) {
    const auto start = std::chrono::steady_clock::now();
    searcher.search({.text = questions[questions.size() - 1 - i], .top_k = 50});
    ms.push_back(Seconds(std::chrono::steady_clock::now() - start).count() * 1000);
  }
  return ms;
}

void report(const char* pass, std::vector<double> ms) {
  const double first = ms.at(0);
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double share) { return ms[static_cast<size_t>(share * (ms.size() - 1))]; };
  fmt::print("{}: {} questions, the first {:.1f} ms, p50 {:.1f} ms, p99 {:.1f} ms, max {:.1f} ms\n",
             pass, ms.size(), first, at(0.5), at(0.99), ms.back());
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path directory = argc > 1 ? argv[1] : "store_bench_corpus";
  const int passages = argc > 2 ? std::atoi(argv[2]) : 100'000;
  const size_t queries = argc > 3 ? static_cast<size_t>(std::atoi(argv[3])) : 300;
  store::Corpus corpus = store::Corpus::create(directory, {});
  const int64_t generation = corpus.generations().begin({});
  const auto began = std::chrono::steady_clock::now();
  const std::vector<std::string> questions = fill(corpus, generation, passages);
  const double stored = Seconds(std::chrono::steady_clock::now() - began).count();
  store::TextSearcher searcher(corpus, generation);
  fmt::print("stored {} passages in {:.1f} s ({:.1f} MB/s of text), {:.0f} MB on disk\n", passages,
             stored, passages * 1560 / 1e6 / stored,
             static_cast<double>(std::filesystem::file_size(directory / "corpus.db")) / 1e6);
  for (const char* pass : {"first pass (counts words)", "second pass"}) {
    report(pass, time_searches(searcher, questions, queries));
  }
}
