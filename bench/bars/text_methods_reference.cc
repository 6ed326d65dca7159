// Bar: Selective Context and QUITO keep the same units as the published programs' rules, run in
// Python (text_methods_reference.py) on the same surprisals and attention rows of the default
// model: on ≥ 500 documents every token, phrase (chunk boundaries given) and sentence, every word
// under three filters of both trees, four ratios each. Sabotaged, one surprisal and one weight a
// document are changed before our side reads them.
#include "bench/bars/default_model.h"
#include "bench/bars/records.h"

#include <cstdio>
#include <fstream>

#include <unistd.h>

#include "src/compress/quito/quito.h"
#include "src/compress/selective_context/selective_context.h"
#include "src/text/unicode.h"

namespace offbook {
namespace {

using nlohmann::json;
using namespace compress;  // NOLINT: a program of one subject

constexpr size_t kBytes = 1200;  // of a document: about 280 tokens

// Our scores of one text, as the script reads them and as our selection does.
struct Scored {
  ScoredText surprisals;
  WeightedText weights;
};

json lengths_of(std::span<const ByteSpan> spans) {
  json out = json::array();
  for (const ByteSpan& span : spans) {
    out.push_back(span.end - span.begin);
  }
  return out;
}

json row_of(const bars::TextSample& text, const Scored& scored) {
  json row{{"text", text.text}, {"collapsed", scored.surprisals.collapsed.text}};
  for (const ScoredSentence& sentence : scored.surprisals.sentences) {
    std::vector<ByteSpan> spans;
    json values = json::array();
    for (const ScoredToken& token : sentence.tokens) {
      spans.push_back(token.span);
      values.push_back(token.surprisal);
    }
    row["lengths"].push_back(lengths_of(spans));
    row["surprisals"].push_back(std::move(values));
  }
  row["weight_lengths"] = lengths_of(scored.weights.spans);
  row["weights"] = scored.weights.weights;
  return row;
}

std::string bits(const std::vector<bool>& keep) {
  std::string out;
  for (const bool k : keep) {
    out.push_back(k ? '1' : '0');
  }
  return out;
}

// Chunk boundaries came back in characters of each sentence.
std::vector<ByteSpan> phrases_of(const json& row, const ScoredText& scored) {
  std::vector<ByteSpan> out;
  for (size_t s = 0; s < scored.sentences.size(); ++s) {
    const ByteSpan span = scored.sentences[s].span;
    std::vector<uint64_t> starts;
    for (uint64_t i = span.begin; i < span.end;
         i += text::decode_utf8(scored.collapsed.text, i).length) {
      starts.push_back(i);
    }
    starts.push_back(span.end);
    for (const json& chunk : row["chunks"][s]) {
      out.push_back({starts[chunk[0].get<size_t>()], starts[chunk[1].get<size_t>()]});
    }
  }
  return out;
}

struct Tally {
  int64_t documents = 0, wrong_documents = 0, compared = 0, wrong = 0;
  bool count(bool is_same, const std::string& name, const std::string& text) {
    ++compared;
    wrong += !is_same;
    if (!is_same && wrong <= 5) {
      std::printf("  differs: %s: %.60s…\n", name.c_str(), text.c_str());
    }
    return is_same;
  }
};

std::array<std::string, 3> parts_of(const std::string& name) {
  const size_t first = name.find('/');
  const size_t last = name.rfind('/');
  return {name.substr(0, first), name.substr(first + 1, last - first - 1), name.substr(last + 1)};
}

bool check_selective(const json& row, const ScoredText& scored, Tally& tally) {
  bool is_same = true;
  const std::vector<ByteSpan> phrases = phrases_of(row, scored);
  for (const auto& [name, want] : row["kept"].items()) {
    const auto [level, value, ratio] = parts_of(name);
    const UnitOptions options{.level = level == "token"    ? UnitLevel::token
                                       : level == "phrase" ? UnitLevel::phrase
                                                           : UnitLevel::sentence,
                              .value = value == "mean" ? UnitValue::mean : UnitValue::sum};
    const auto units = make_units(scored.collapsed.text, scored.sentences, phrases, options);
    is_same &= tally.count(bits(keep_by_percentile(units, std::stod(ratio))) == want, name,
                           row["text"].get<std::string>());
  }
  return is_same;
}

bool check_quito(const json& row, const WeightedText& weighted, Tally& tally) {
  bool is_same = true;
  const auto text = row["text"].get<std::string>();
  std::vector<double> weights = weighted.weights;
  const std::vector<Word> words = merge_words(text, weighted.spans, weights);
  const auto ends = row["sentence_ends"].get<std::vector<int32_t>>();
  for (const auto& [name, want] : row["words_kept"].items()) {
    const auto [rules, filter, ratio] = parts_of(name);
    const QuitoFilterOptions options{
        .filter = filter == "phrase"     ? QuitoFilter::phrase
                  : filter == "sentence" ? QuitoFilter::sentence
                                         : QuitoFilter::dynamic_sentence,
        .rules = rules == "paper" ? QuitoRules::paper : QuitoRules::head,
        .ratio = std::stod(ratio)};
    is_same &= tally.count(keep_words(words, ends, options) == want.get<std::vector<int32_t>>(),
                           name, text);
  }
  return is_same;
}

void sabotage(Scored& scored) {
  for (ScoredSentence& sentence : scored.surprisals.sentences) {
    if (!sentence.tokens.empty()) {
      sentence.tokens.front().surprisal += 5;
    }
  }
  for (size_t i = 0; i < scored.weights.weights.size(); i += 7) {
    scored.weights.weights[i] *= 1.01;
  }
}

int run(const bars::Options& options) {
  if (!std::filesystem::exists(bars::default_model_path()) ||
      !std::filesystem::exists(bars::data_directory() / "data/squad.jsonl.zst")) {
    std::printf("the model or the data are missing\n");
    return bars::kMissing;
  }
  bars::DefaultModel machine;
  const backend::ExecutionContext ctx = machine.context();
  const model::LanguageModel& model = machine.get();
  const auto base =
      std::filesystem::temp_directory_path() / fmt::format("offbook_text_methods_{}", ::getpid());
  std::vector<Scored> all;
  {
    std::ofstream rows(base.string() + ".in");
    for (const bars::TextSample& text : bars::text_samples(options.quick, kBytes)) {
      Scored scored{.surprisals =
                        score_text(ctx, {model.llama(), model.tokenizer()}, text.text, {})};
      const std::string_view document = text.text;
      scored.weights =
          weigh_documents(ctx, model.llama(), model.tokenizer(), std::span(&document, 1),
                          text.question, {.chat_format = model.chat_format()})
              .front();
      rows << row_of(text, scored).dump() << "\n";
      if (options.sabotage) {
        sabotage(scored);
      }
      all.push_back(std::move(scored));
    }
  }
  const char* python = std::getenv("OFFBOOK_PYTHON");
  const std::string command = fmt::format("{} {}/text_methods_reference.py {}.in {}.out",
                                          python != nullptr ? python : "python3", OB_BARS_DIRECTORY,
                                          base.string(), base.string());
  if (std::system(command.c_str()) != 0) {
    std::printf("%s failed: numpy and scipy are needed, OFFBOOK_PYTHON names an interpreter\n",
                command.c_str());
    return bars::kMissing;
  }
  Tally selective, quito;
  std::ifstream rows(base.string() + ".out");
  size_t number = 0;
  for (std::string line; std::getline(rows, line); ++number) {
    const json row = json::parse(line);
    ++selective.documents;
    ++quito.documents;
    selective.wrong_documents += !check_selective(row, all[number].surprisals, selective);
    quito.wrong_documents += !check_quito(row, all[number].weights, quito);
  }
  std::filesystem::remove(base.string() + ".in");
  std::filesystem::remove(base.string() + ".out");
  const auto print = [](const char* name, const Tally& t) {
    std::printf("%s: %lld documents, %lld comparisons, %lld differ (in %lld documents)\n", name,
                static_cast<long long>(t.documents), static_cast<long long>(t.compared),
                static_cast<long long>(t.wrong), static_cast<long long>(t.wrong_documents));
  };
  print("selective_context", selective);
  print("quito", quito);
  const bool is_enough = options.quick || selective.documents >= 500;
  return is_enough && selective.wrong == 0 && quito.wrong == 0 ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
