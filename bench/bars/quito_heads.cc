// Bar: the heads of the table row `quito_heads` find answers better than the mean of the last
// layer, which is QUITO, on the tune parts of FairytaleQA and nq_multidoc; the full run also says
// whether they are those the rule chooses. The rule: a head is worth the share of a document's
// words whose smoothed weight lies below that of the best word of an answer, a mean over questions;
// of the 1, 2, 4, 8 and 16 best heads those stand together whose mean row is worth most. Nothing
// here comes from a test part, nor from sets that are only ever tested. Sabotaged, the worst heads
// take the place of the best.
#include "bench/bars/default_model.h"
#include "bench/bars/records.h"

#include <cstdio>
#include <numeric>

#include "src/compress/quito/chosen_heads.h"
#include "src/compress/quito/words.h"
#include "src/metrics/python_text.h"
#include "src/metrics/split.h"

namespace offbook {
namespace {

using nlohmann::json;
using namespace compress;  // NOLINT: a program of one subject

constexpr size_t kMostTokens = 6000;  // of a document
constexpr size_t kMostHeads = 16;

struct Sample {
  std::string text;
  std::vector<std::string> questions;
  std::vector<ByteSpan> answers;  // where one stands, by question
};

std::vector<Sample> samples(const bars::Options& options) {
  std::vector<Sample> out;
  for (const char* set : {"fairytaleqa", "nq_multidoc"}) {
    const auto path = bars::data_directory() / "data" / (std::string(set) + ".jsonl.zst");
    size_t documents = 0;
    for (const json& record : bars::lines_of(bars::decompressed(path))) {
      if (metrics::split_part(record["id"].get<std::string>()) != metrics::SplitPart::tune ||
          (options.quick && documents == 2)) {
        continue;
      }
      Sample sample{.text = record["text"]};
      const std::string folded = metrics::python_lower(sample.text);
      for (const json& question : record["questions"]) {
        for (const json& answer : question["answers"]) {
          const std::string wanted = metrics::python_lower(answer.get<std::string>());
          const size_t at = wanted.empty() ? std::string::npos : folded.find(wanted);
          if (at != std::string::npos && folded.size() == sample.text.size() &&
              sample.questions.size() < (options.quick ? 6u : 16u)) {
            sample.questions.push_back(question["question"]);
            sample.answers.push_back({at, at + wanted.size()});
            break;
          }
        }
      }
      if (!sample.questions.empty()) {
        out.push_back(std::move(sample));
        ++documents;
      }
    }
  }
  return out;
}

// The share of other words below the answer's best one.
double worth(const Sample& sample, size_t question, std::span<const ByteSpan> spans,
             std::span<const double> weights) {
  const std::vector<Word> words = merge_words(sample.text, spans, weights);
  std::vector<double> scores;
  for (const Word& word : words) {
    scores.push_back(word.score);
  }
  scores = gaussian_smooth(scores, 1);
  const ByteSpan answer = sample.answers[question];
  double best = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i].span.begin < answer.end && answer.begin < words[i].span.end) {
      best = std::max(best, scores[i]);
    }
  }
  const auto below =
      std::count_if(scores.begin(), scores.end(), [&](double s) { return s < best; });
  return static_cast<double>(below) / static_cast<double>(std::max<size_t>(1, scores.size() - 1));
}

class Chooser {
 public:
  Chooser(const backend::ExecutionContext& ctx, const model::LanguageModel& model,
          std::span<const Sample> samples)
      : ctx_(ctx), model_(model), samples_(samples) {}

  // Each head by itself.
  std::vector<double> worths(const std::vector<HeadChoice>& heads) {
    std::vector<double> sums(heads.size());
    each_row(heads, [&](const Row& row) {
      ctx_.pool->run(static_cast<int64_t>(heads.size()), [&](int64_t h) {
        const auto own =
            row.weights.subspan(static_cast<size_t>(h) * row.spans.size(), row.spans.size());
        sums[static_cast<size_t>(h)] += worth(*row.sample, row.question, row.spans, own);
      });
    });
    return divided(std::move(sums));
  }

  // The mean row of the first n, for every n that is asked for.
  std::vector<double> worths_together(const std::vector<HeadChoice>& heads,
                                      const std::vector<size_t>& counts) {
    std::vector<double> sums(counts.size());
    each_row(heads, [&](const Row& row) {
      for (size_t c = 0; c < counts.size(); ++c) {
        std::vector<double> mean(row.spans.size());
        for (size_t i = 0; i < counts[c] * row.spans.size(); ++i) {
          mean[i % row.spans.size()] += row.weights[i];
        }
        sums[c] += worth(*row.sample, row.question, row.spans, mean);
      }
    });
    return divided(std::move(sums));
  }

  size_t questions() const { return questions_; }

 private:
  struct Row {
    const Sample* sample;
    size_t question;
    std::span<const ByteSpan> spans;
    std::span<const double> weights;  // head after head
  };

  template <typename Fn>
  void each_row(const std::vector<HeadChoice>& heads, const Fn& fn) {
    questions_ = 0;
    for (const Sample& sample : samples_) {
      std::vector<RowPrompt> prompts;
      std::vector<ByteSpan> spans;
      for (const std::string& question : sample.questions) {
        QuitoPrompt prompt =
            make_quito_prompt(model_.tokenizer(), model_.chat_format(), sample.text, question);
        spans = std::move(prompt.spans);
        prompts.push_back(std::move(prompt.row));
      }
      if (spans.size() > kMostTokens) {
        continue;
      }
      const auto rows = attention_rows_behind(ctx_, model_.llama(), prompts,
                                              {.heads = heads, .keeps_heads_apart = true});
      for (size_t q = 0; q < rows.size(); ++q) {
        fn({&sample, q, spans, rows[q]});
      }
      questions_ += rows.size();
    }
  }
  std::vector<double> divided(std::vector<double> sums) const {
    for (double& sum : sums) {
      sum /= static_cast<double>(std::max<size_t>(1, questions_));
    }
    return sums;
  }

  const backend::ExecutionContext& ctx_;
  const model::LanguageModel& model_;
  std::span<const Sample> samples_;
  size_t questions_ = 0;
};

std::vector<HeadChoice> ranked(std::vector<HeadChoice> heads, const std::vector<double>& worths,
                               bool worst_first) {
  std::vector<size_t> order(heads.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return worst_first ? worths[a] < worths[b] : worths[a] > worths[b];
  });
  std::vector<HeadChoice> out;
  for (size_t i = 0; i < std::min(order.size(), kMostHeads); ++i) {
    out.push_back(heads[order[i]]);
  }
  return out;
}

int run(const bars::Options& options) {
  if (!std::filesystem::exists(bars::default_model_path()) ||
      !std::filesystem::exists(bars::data_directory() / "data/nq_multidoc.jsonl.zst")) {
    std::printf("the model or the data are missing\n");
    return bars::kMissing;
  }
  bars::DefaultModel machine;
  const backend::ExecutionContext ctx = machine.context();
  const model::LanguageModel& model = machine.get();
  const std::vector<Sample> all = samples(options);
  Chooser chooser(ctx, model, all);
  std::vector<HeadChoice> heads, last;
  for (int32_t layer = 0; layer < model.config().layers; ++layer) {
    for (int32_t head = 0; head < model.config().heads; ++head) {
      heads.push_back({layer, head});
      if (layer + 1 == model.config().layers) {
        last.push_back(heads.back());
      }
    }
  }
  const std::vector<HeadChoice> best = ranked(heads, chooser.worths(heads), options.sabotage);
  const std::vector<size_t> counts{1, 2, 4, 8, kMostHeads};
  const std::vector<double> together = chooser.worths_together(best, counts);
  const auto most = std::max_element(together.begin(), together.end()) - together.begin();
  const std::vector<HeadChoice> rule(
      best.begin(), best.begin() + static_cast<std::ptrdiff_t>(counts[static_cast<size_t>(most)]));
  for (size_t c = 0; c < counts.size(); ++c) {
    std::printf("the %zu best heads: %.4f\n", counts[c], together[c]);
  }
  std::printf("chosen for %s:", model.fingerprint().family.c_str());
  for (const HeadChoice& choice : rule) {
    std::printf(" {%d, %d},", choice.layer, choice.head);
  }
  const std::vector<HeadChoice> shipped =
      options.sabotage ? rule : chosen_heads(model.fingerprint().family);
  if (shipped.empty()) {
    std::printf("\nno heads are shipped for this model\n");
    return bars::kShort;
  }
  const double ours = chooser.worths_together(shipped, {shipped.size()}).front();
  const double published = chooser.worths_together(last, {last.size()}).front();
  const bool is_rule = shipped == rule;
  std::printf(
      "\nquito_heads: %.4f, the last layer's mean %.4f (bar: above), on %zu questions; %s\n", ours,
      published, chooser.questions(),
      is_rule ? "the rule chooses the shipped heads" : "the rule would choose others");
  return ours > published && (is_rule || options.quick) ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
