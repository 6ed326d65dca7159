// Bar: what an adapter is worth. Documents are learned, questions about them held back; greedy
// token F1 with the same retrieval, intervals over documents. Trained on given pairs (≤ 500k
// tokens) the adapter is above the unadapted model with its two-shot short-answer prompt; trained
// on self-study alone it is not below it. Beside them: an adapter of other documents of the set,
// and no context. Sabotaged, every adapter is zero and must not count as a win.
// usage: bar_adapter [--quick] [--sabotage] [--device cuda] [fairytaleqa] [covidqa] [given] [study]
//                    [other] [bare]
// The last four name rows; a run of some rows holds where their bars do. OFFBOOK_TRAIN_TOKENS and
// OFFBOOK_QUESTIONS lower the tokens trained on (500,000) and the questions judged (240) of a set.
#include "bench/bars/bar.h"
#include "bench/bars/records.h"

#include <cstdio>
#include <map>

#include <unistd.h>

#include "src/backend/compute_device.h"
#include "src/ingest/reader.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/learn/adapter_files.h"
#include "src/learn/ask_prompts.h"
#include "src/learn/assess.h"
#include "src/learn/ingest_stage.h"
#include "src/learn/question_set.h"
#include "src/learn/self_study.h"
#include "src/learn/train_stage.h"
#include "src/metrics/bootstrap.h"
#include "src/metrics/split.h"
#include "src/model/import/fingerprint.h"
#include "src/retrieve/index_stage.h"

namespace offbook {
namespace {

using nlohmann::json;

struct Scale {
  size_t documents = 24;
  size_t questions_per_document = 40;
  size_t judged = 240;
  int64_t train_tokens = 500'000;
  int study_passages = 240;
};

Scale scale_of(const bars::Options& options) {
  return options.quick
             ? Scale{.documents = 3,
                     .questions_per_document = 10,
                     .judged = 6,
                     .train_tokens = 6'000,
                     .study_passages = 4}
             : Scale{.judged = std::min<size_t>(240, bars::number("OFFBOOK_QUESTIONS", 240)),
                     .train_tokens =
                         std::min<int64_t>(500'000, bars::number("OFFBOOK_TRAIN_TOKENS", 500'000))};
}

// Some documents of a set, learned as a corpus of their own, with the tools to train and score.
class Learned {
 public:
  struct Engines {
    backend::ExecutionContext cpu, training;
    model::SentenceEncoder& encoder;
    const std::string& encoder_fingerprint;
    const model::LanguageModel& model;
    model::Decoder& decoder;
    const ingest::TokenCounter& counter;
  };

  Learned(const Engines& engines, const std::vector<json>& records, const Scale& scale,
          const std::filesystem::path& directory)
      : engines_(engines),
        scale_(scale),
        directory_(directory),
        corpus_(store::Corpus::create(directory, {})) {
    generation_ = corpus_.generations().begin(json::object());
    for (const json& record : records) {
      add(record);
    }
    retrieve::index_passages(corpus_, generation_, engines.encoder, engines.encoder_fingerprint,
                             {});
    retriever_ = std::make_unique<retrieve::Retriever>(corpus_, generation_, engines.encoder,
                                                       engines.encoder_fingerprint, engines.cpu);
    answerer_ = std::make_unique<answer::Answerer>(*retriever_, engines.model, engines.decoder);
    const auto make = learn::ask_prompts(*answerer_, {});
    prompt_of_ = [this, make](const std::string& question) {
      const auto [at, is_new] = prompts_.try_emplace(question);
      if (is_new) {
        at->second = make(question);
      }
      return at->second;
    };
    split_ = learn::split_examples(given_, {.held_out_share = 0.3});
    judged_ = learn::spread(split_.held_out, scale.judged);
  }
  ~Learned() { std::filesystem::remove_all(directory_); }

  model::LoraAdapter train_given() { return train(split_); }
  model::LoraAdapter train_self_study() {
    learn::self_study(corpus_, generation_, engines_.model, engines_.decoder,
                      {.max_passages = scale_.study_passages, .max_tokens = 10'000'000});
    return train(learn::split_examples(learn::usable_examples(corpus_, generation_, false), {}));
  }

  // F1 of each judged question. `with_context`: with what `ask` retrieves.
  std::vector<double> score(const std::string& name, const model::LoraAdapter* adapter,
                            bool with_context = true) {
    return learn::score_answers(corpus_, judged_, {name, adapter},
                                with_context ? prompt_of_ : bare_prompts(), engines_.model,
                                engines_.decoder, {});
  }
  const std::vector<Example>& judged() const { return judged_; }

 private:
  void add(const json& record) {
    const auto id = record["id"].get<std::string>();
    const auto text = record["text"].get<std::string>();
    const ingest::Source source{.path = id + ".txt",
                                .bytes = std::as_bytes(std::span(text.data(), text.size()))};
    const Document document = ingest::read_document(source, {}).document;
    auto passages = ingest::cut_passages(document, {}, engines_.counter);
    corpus_.documents().put(generation_, document, passages);
    size_t taken = 0;
    for (const json& q : record["questions"]) {
      Example e{.question = q["question"],
                .answers = q["answers"].get<std::vector<std::string>>(),
                .document_id = document.id};
      e.id = learn::example_id(e);
      if (taken++ < scale_.questions_per_document) {
        given_.push_back(std::move(e));
      }
    }
  }

  model::LoraAdapter train(const learn::ExampleSplit& split) {
    learn::TrainStageOptions options;
    options.max_tokens = scale_.train_tokens;
    const learn::TrainOutcome outcome = learn::train_adapter(
        corpus_, split, engines_.model, prompt_of_, engines_.training, options);
    OB_REQUIRE(!outcome.adapter.empty(), InvalidArgument, "there was nothing to train on");
    std::printf("  trained on %lld questions, %lld steps, held-out loss %.3f → %.3f\n",
                static_cast<long long>(outcome.sequences),
                static_cast<long long>(outcome.result.steps), outcome.first_held_out,
                outcome.result.best_held_out.value_or(0));
    std::fflush(stdout);
    return learn::load_adapter(corpus_, outcome.adapter, engines_.model.fingerprint());
  }

  learn::PromptMaker bare_prompts() const {
    return [this](const std::string& question) {
      const answer::Wording wording;
      const std::vector<text::ChatMessage> messages = {
          {"system", wording.system, {}},
          {"user", wording.instruction + "\nQuestion: " + question, {}}};
      return answer::Prompt{{.name = "question",
                             .tokens = text::render_chat(engines_.model.tokenizer(),
                                                         engines_.model.chat_format(), messages)
                                           .ids}};
    };
  }

  Engines engines_;
  Scale scale_;
  std::filesystem::path directory_;
  store::Corpus corpus_;
  int64_t generation_ = 0;
  std::unique_ptr<retrieve::Retriever> retriever_;
  std::unique_ptr<answer::Answerer> answerer_;
  std::map<std::string, answer::Prompt> prompts_;
  learn::PromptMaker prompt_of_;
  std::vector<Example> given_;
  learn::ExampleSplit split_;
  std::vector<Example> judged_;
};

void zero(model::LoraAdapter& adapter) {
  for (auto& layer : adapter.layers) {
    for (model::LoraPair& pair : layer) {
      if (pair.b.defined()) {
        std::fill_n(pair.b.data<float>(), pair.b.numel(), 0.0f);
      }
    }
  }
}

// Documents with questions, in an order that only their ids decide: the first half is learned, the
// second gives the other adapter.
std::vector<json> documents_of(const std::string& set, size_t count) {
  std::vector<json> records =
      bars::lines_of(bars::decompressed(bars::data_directory() / "data" / (set + ".jsonl.zst")));
  std::erase_if(records, [](const json& r) { return r["questions"].size() < 8; });
  std::stable_sort(records.begin(), records.end(), [](const json& a, const json& b) {
    return metrics::split_hash(a["id"].get<std::string>()) <
           metrics::split_hash(b["id"].get<std::string>());
  });
  records.resize(std::min(records.size(), count));
  return records;
}

class Bar {
 public:
  explicit Bar(const std::string& device)
      : device_({.name = device}),
        encoder_(real_file_system(), bars::model_directory() / "all-minilm-l6-v2",
                 device_.context(backend::Compute::bf16)),
        fingerprint_(model::encoder_fingerprint(real_file_system(),
                                                bars::model_directory() / "all-minilm-l6-v2")
                         .model),
        model_(real_file_system(), bars::model_directory() / "smollm2-135m-instruct",
               device_.context(backend::Compute::bf16), {}),
        decoder_(model_.make_decoder(device_.context(backend::Compute::bf16), 12'288)),
        counter_(model_.tokenizer(), encoder_.tokenizer()) {}

  bool measure(const std::string& set, const bars::Options& options) {
    const Scale scale = scale_of(options);
    const std::vector<json> records = documents_of(set, 2 * scale.documents);
    const auto half = records.begin() + static_cast<std::ptrdiff_t>(records.size() / 2);
    const auto directory = std::filesystem::temp_directory_path() /
                           fmt::format("offbook_adapter_{}_{}", ::getpid(), set);
    const Learned::Engines engines{
        device_.cpu_context(backend::Compute::f32),
        device_.context(device_.is_gpu() ? backend::Compute::bf16 : backend::Compute::f32),
        encoder_,
        fingerprint_,
        model_,
        decoder_,
        counter_};
    std::printf("%s: %zu documents learned, %zu others\n", set.c_str(),
                static_cast<size_t>(half - records.begin()),
                static_cast<size_t>(records.end() - half));
    Learned learned(engines, {records.begin(), half}, scale, directory.string() + "_a");
    const auto trained = [&](model::LoraAdapter adapter) {
      if (options.sabotage) {
        zero(adapter);
      }
      return adapter;
    };
    const std::vector<double> base = learned.score("base", nullptr);
    bool holds = true;
    if (asks_for(options, "given")) {
      const model::LoraAdapter given = trained(learned.train_given());
      const auto gain = row(learned, "given pairs", learned.score("given", &given), base);
      row(learned, "no context, given pairs", learned.score("bare given", &given, false), base);
      // A win needs 20 documents; the quick run only shows that the figures come out and move.
      holds = options.quick ? gain.estimate > 0 : gain.documents >= 20 && gain.low > 0;
    }
    if (asks_for(options, "study")) {
      const model::LoraAdapter studied = trained(learned.train_self_study());
      const auto gain = row(learned, "self-study only", learned.score("study", &studied), base);
      holds = holds && (options.quick || gain.low >= -0.015);
    }
    if (!options.quick && asks_for(options, "other")) {
      const model::LoraAdapter other =
          Learned(engines, {half, records.end()}, scale, directory.string() + "_b").train_given();
      row(learned, "other documents", learned.score("other", &other), base);
    }
    if (asks_for(options, "bare")) {
      row(learned, "no context, unadapted", learned.score("bare", nullptr, false), base);
    }
    return holds;
  }

 private:
  static bool asks_for(const bars::Options& options, std::string_view row) {
    const auto is_row = [](const std::string& name) {
      return name == "given" || name == "study" || name == "other" || name == "bare";
    };
    return std::none_of(options.names.begin(), options.names.end(), is_row) ||
           options.asks_for(row);
  }

  static metrics::Interval row(const Learned& learned, const char* name,
                               const std::vector<double>& scores, const std::vector<double>& base) {
    std::vector<std::string> documents;
    for (const Example& e : learned.judged()) {
      documents.push_back(e.document_id);
    }
    const metrics::Interval d =
        metrics::bootstrap_difference(metrics::gather_by_document(documents, scores),
                                      metrics::gather_by_document(documents, base));
    const learn::Comparison mean = learn::compare(documents, base, scores, 0.015);
    std::printf(
        "  %-24s F1 %.3f, unadapted %.3f, difference %+.3f (95%% %+.3f to %+.3f), %lld "
        "documents, %lld questions\n",
        name, mean.after, mean.before, d.estimate, d.low, d.high,
        static_cast<long long>(d.documents), static_cast<long long>(d.questions));
    std::fflush(stdout);
    return d;
  }

  backend::ComputeDevice device_;  // before all that lives on it
  model::SentenceEncoder encoder_;
  std::string fingerprint_;
  model::LanguageModel model_;
  model::Decoder decoder_;
  ingest::TokenizerCounter counter_;
};

int run(const bars::Options& options) {
  for (const auto& path : {bars::data_directory() / "data/fairytaleqa.jsonl.zst",
                           bars::data_directory() / "data/covidqa.jsonl.zst",
                           bars::model_directory() / "smollm2-135m-instruct",
                           bars::model_directory() / "all-minilm-l6-v2"}) {
    if (!std::filesystem::exists(path)) {
      std::printf("missing: %s\n", path.c_str());
      return bars::kMissing;
    }
  }
  const auto names_set = [](const std::string& name) {
    return name == "fairytaleqa" || name == "covidqa";
  };
  const bool has_sets = std::any_of(options.names.begin(), options.names.end(), names_set);
  Bar bar(options.device);
  int held = 0, sets = 0;
  for (const char* set : {"fairytaleqa", "covidqa"}) {
    const bool is_left_out = options.quick && !has_sets && std::string_view(set) == "covidqa";
    if ((!has_sets || options.asks_for(set)) && !is_left_out) {
      held += bar.measure(set, options);
      ++sets;
    }
  }
  std::printf("adapter: %d of %d sets hold\n", held, sets);
  return held == sets ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
