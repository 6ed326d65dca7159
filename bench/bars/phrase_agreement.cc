// Bar: the phrases that Selective Context finds by rules (`phrase-approx`) agree with spaCy's
// merged noun chunks, sentence by sentence of 500 documents: ends of phrases F1 ≥ 0.8; phrases of
// several words are printed beside it. Sabotaged, every word is a phrase. OFFBOOK_PYTHON names an
// interpreter with spaCy.
#include "bench/bars/bar.h"
#include "bench/bars/records.h"

#include <fstream>

#include <unistd.h>

#include "src/compress/selective_context/phrases.h"

namespace offbook {
namespace {

using nlohmann::json;

constexpr size_t kBytes = 1200;  // of a document
constexpr double kLeast = 0.8;

// Every word by itself.
std::vector<ByteSpan> words_of(std::string_view text) {
  std::vector<ByteSpan> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) {
      out.push_back({begin, end});
    }
    begin = end + 1;
  }
  return out;
}

int64_t write_sentences(const std::vector<bars::TextSample>& samples, bool is_sabotaged,
                        const std::filesystem::path& path) {
  std::ofstream rows(path);
  int64_t sentences = 0;
  for (const bars::TextSample& sample : samples) {
    const compress::CollapsedText collapsed = compress::collapse_white_space(sample.text);
    const auto spans = compress::reference_sentences(collapsed.text);
    for (size_t s = 0; s + 1 < spans.size(); ++s) {  // the last one is cut
      const std::string_view sentence =
          std::string_view(collapsed.text).substr(spans[s].begin, spans[s].end - spans[s].begin);
      json phrases = json::array();
      for (const ByteSpan& p :
           is_sabotaged ? words_of(sentence) : compress::approximate_phrases(sentence)) {
        phrases.push_back({p.begin, p.end});
      }
      rows << json{{"sentence", sentence}, {"phrases", std::move(phrases)}}.dump() << "\n";
      ++sentences;
    }
  }
  return sentences;
}

double f1(const json& sums, const std::string& kind) {
  const double same = sums[kind + "same"];
  return 2 * same / (sums[kind + "ours"].get<double>() + sums[kind + "theirs"].get<double>());
}

int run(const bars::Options& options) {
  if (!std::filesystem::exists(bars::data_directory() / "data/squad.jsonl.zst")) {
    std::printf("the data are missing\n");
    return bars::kMissing;
  }
  const std::vector<bars::TextSample> all = bars::text_samples(options.quick, kBytes);
  const auto base =
      std::filesystem::temp_directory_path() / ("offbook_phrases_" + std::to_string(::getpid()));
  const int64_t sentences = write_sentences(all, options.sabotage, base.string() + ".in");
  const char* python = std::getenv("OFFBOOK_PYTHON");
  const std::string command = std::string(python != nullptr ? python : "python3") + " " +
                              OB_BARS_DIRECTORY "/phrase_agreement.py " + base.string() + ".in " +
                              base.string() + ".out";
  const bool has_run = std::system(command.c_str()) == 0;
  std::filesystem::remove(base.string() + ".in");
  if (!has_run) {
    std::printf(
        "spaCy with a small English model is needed; OFFBOOK_PYTHON names an interpreter\n");
    return bars::kMissing;
  }
  const json sums = json::parse(std::ifstream(base.string() + ".out"));
  std::filesystem::remove(base.string() + ".out");
  std::printf("phrases of several words: %d ours, %d spaCy's, %d the same: F1 %.3f\n",
              sums["ours"].get<int>(), sums["theirs"].get<int>(), sums["same"].get<int>(),
              f1(sums, ""));
  const double cuts = f1(sums, "cuts_");
  std::printf(
      "phrase_agreement: ends of phrases F1 %.3f (bar %.1f), %lld sentences of %zu documents\n",
      cuts, kLeast, static_cast<long long>(sentences), all.size());
  return cuts >= kLeast && (options.quick || all.size() >= 500) ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
