// Bar: the fidelity that is read off a document's own text says how much worse the document is
// answered from its slots. Per document, Spearman of the score with F1 from slots minus F1 from the
// raw text on human questions at least .4 (100 documents or more), scores dealt out anew as
// control; of the documents that pass at a tolerance at least 85% lose no more than it. Documents:
// those of fairytaleqa that no weights saw, squad, covidqa, nq_multidoc. --sabotage: scores belong
// to other documents.
//
// usage: bar_fidelity [--weights FILE] [--device D] [--sets a,b] [--documents N] [--questions N]
//   [--ratios 8,32] [--steps N] [--tolerance POINTS] [--seconds N] [--json FILE] [--quick]
//   [--sabotage]
// --steps: an adapter for each side, trained alike on fairytaleqa's part for training; 0: none.
// --seconds: no document is begun after that. --documents: of a set, at most.
#include "bench/bars/bar.h"
#include "bench/bars/records.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "src/answer/answerer.h"
#include "src/backend/compute_device.h"
#include "src/base/random.h"
#include "src/compress/registry.h"
#include "src/ingest/passages.h"
#include "src/ingest/reader.h"
#include "src/ingest/segments.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/learn/text_fidelity.h"
#include "src/learn/training_set.h"
#include "src/metrics/correlation.h"
#include "src/metrics/split.h"
#include "src/metrics/text_scores.h"
#include "src/model/adapter_device.h"
#include "src/model/lora_init.h"

namespace offbook {
namespace {

constexpr double kSpearman = 0.4;
constexpr double kWithin = 0.85;
constexpr size_t kFewestDocuments = 100;
constexpr size_t kMostSegments =
    4;  // of a document that are read: 6,144 tokens of a window of 8,192
constexpr int kAnswerTokens = 24;

struct Flags {
  bars::Options bar;
  std::string weights, device = "auto", json;
  std::string sets = "fairytaleqa,squad,covidqa,nq_multidoc", ratios = "8,32";
  size_t documents = 1000, questions = 20;
  int64_t steps = 60;
  double tolerance = 5, seconds = 1e9;
};

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream stream(text);
  for (std::string item; std::getline(stream, item, ',');) {
    out.push_back(item);
  }
  return out;
}

Flags parse(int argc, char** argv) {
  Flags f{.bar = bars::parse(argc, argv)};
  const char* known = std::getenv("OFFBOOK_BEACON");
  f.weights = known != nullptr ? known : "models/smollm2-135m-instruct/beacon.safetensors";
  if (f.bar.quick) {
    f = {.bar = f.bar,
         .weights = f.weights,
         .sets = "squad",
         .ratios = "8",
         .documents = 6,
         .questions = 3,
         .steps = 0};
  }
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    for (const auto& [known_name, text] : {std::pair{"--weights", &f.weights},
                                           {"--device", &f.device},
                                           {"--sets", &f.sets},
                                           {"--ratios", &f.ratios},
                                           {"--json", &f.json}}) {
      *text = name == known_name ? value : *text;
    }
    f.documents = name == "--documents" ? std::stoul(value) : f.documents;
    f.questions = name == "--questions" ? std::stoul(value) : f.questions;
    f.steps = name == "--steps" ? std::stol(value) : f.steps;
    f.tolerance = name == "--tolerance" ? std::stod(value) : f.tolerance;
    f.seconds = name == "--seconds" ? std::stod(value) : f.seconds;
  }
  return f;
}

struct Question {
  std::string text;
  std::vector<std::string> references;
};

struct Learned {
  std::string id, set;
  std::vector<Segment> segments;
  std::vector<learn::TextSegment> texts;  // point into `segments`
  std::vector<Question> questions;
};

// F1 in points.
struct Scores {
  double raw = 0;
  std::map<double, double> slots;  // by ratio
  learn::TextFidelity text;
};

class Measure {
 public:
  explicit Measure(const Flags& flags)
      : flags_(flags),
        device_({.name = flags.device}),
        ctx_(device_.context(backend::Compute::bf16)),
        model_(real_file_system(), bars::model_directory() / "smollm2-135m-instruct", ctx_, {}),
        decoder_(model_.make_decoder(ctx_, 16'384)),
        counter_(model_.tokenizer(), model_.tokenizer()),
        base_{model_.llama(), model_.tokenizer(), model_.fingerprint(), model_.chat_format()},
        compressor_(compress::load_compressor(ctx_, base_, real_file_system(), flags.weights)),
        meter_(model_, decoder_, *compressor_, ctx_, {}) {
    for (const std::string& r : split_list(flags.ratios)) {
      ratios_.push_back(std::stod(r));
    }
    const text::ChatPrompt chat = prompt("?");
    lead_.assign(chat.ids.begin(), chat.ids.begin() + static_cast<std::ptrdiff_t>(chat.cuts[0]));
  }

  // Documents of a set that no weights saw, or those that adapters may be trained on.
  std::vector<std::unique_ptr<Learned>> documents(const std::string& set, bool for_training) const {
    std::vector<std::unique_ptr<Learned>> out;
    for (const nlohmann::json& record : bars::lines_of(
             bars::decompressed(bars::data_directory() / "data" / (set + ".jsonl.zst")))) {
      const auto id = record["id"].get<std::string>();
      const bool is_training =
          set == "fairytaleqa" && metrics::split_part(id) == metrics::SplitPart::train;
      if (is_training == for_training && out.size() < flags_.documents) {
        auto made = read(record, set);
        if (!made->questions.empty()) {
          out.push_back(std::move(made));
        }
      }
    }
    return out;
  }

  void train() {
    std::vector<std::unique_ptr<Learned>> documents = this->documents("fairytaleqa", true);
    documents.resize(std::min<size_t>(documents.size(), 120));
    raw_adapter_ = train_on(documents, 0);
    slot_adapter_ = train_on(documents, ratios_.front());
  }

  Scores score(const Learned& d) {
    const learn::ProbeReaders readers{adapter(raw_adapter_), adapter(slot_adapter_)};
    Scores out{.text = meter_.measure(d.texts, ratios_, readers)};
    out.raw = f1(d, 0, readers.with_raw);
    for (const double ratio : ratios_) {
      out.slots[ratio] = f1(d, ratio, readers.with_slots);
    }
    return out;
  }

  const std::vector<double>& ratios() const { return ratios_; }

 private:
  static const model::LoraAdapter* adapter(const std::optional<model::LoraAdapter>& a) {
    return a ? &*a : nullptr;
  }

  text::ChatPrompt prompt(const std::string& question) const {
    const answer::Wording wording;
    const std::vector<text::ChatMessage> messages{
        {"system", wording.system, {}},
        {"user", fmt::format("{}\nQuestion: {}", wording.instruction, question), {0}}};
    return text::render_chat(model_.tokenizer(), model_.chat_format(), messages);
  }
  std::vector<int32_t> tail(const std::string& question) const {
    const text::ChatPrompt chat = prompt(question);
    return {chat.ids.begin() + static_cast<std::ptrdiff_t>(chat.cuts[0]), chat.ids.end()};
  }

  std::unique_ptr<Learned> read(const nlohmann::json& record, const std::string& set) const {
    auto out = std::make_unique<Learned>();
    out->id = record["id"].get<std::string>();
    out->set = set;
    const auto text = record["text"].get<std::string>();
    const ingest::Source source{.path = out->id + ".txt",
                                .bytes = std::as_bytes(std::span(text.data(), text.size()))};
    const Document document = ingest::read_document(source, {}).document;
    out->segments =
        ingest::make_segments(document, ingest::cut_passages(document, {}, counter_), counter_);
    out->segments.resize(std::min(out->segments.size(), kMostSegments));
    for (const Segment& s : out->segments) {
      out->texts.push_back({&s, document.text.substr(s.span.begin, s.span.end - s.span.begin)});
    }
    std::vector<Question> all;
    for (const nlohmann::json& q : record["questions"]) {
      auto answers = q["answers"].get<std::vector<std::string>>();
      if (answers.front() != "Unanswerable") {
        all.push_back({q["question"], std::move(answers)});
      }
    }
    const size_t count = std::min(all.size(), flags_.questions);
    for (size_t i = 0; i < count; ++i) {
      out->questions.push_back(all[i * all.size() / count]);
    }
    return out;
  }

  // The whole document as slots; one run of them.
  Tensor slots_of(const Learned& d, double ratio) const {
    std::vector<compress::Request> requests;
    for (const learn::TextSegment& s : d.texts) {
      requests.push_back({.segment = s.segment, .text = s.text, .budget = {.ratio = ratio}});
    }
    const auto contexts = compressor_->compress(ctx_, requests);
    std::vector<compress::Attachment> attachments;
    for (const CompressedContext& c : contexts) {
      attachments.push_back({&c, {}});
    }
    const auto parts = compressor_->attach(attachments, {.has_text_before = true});
    OB_REQUIRE(parts.size() == 1 && parts[0].kv.defined(), Unsupported,
               "this bar reads KV slots, not what {} makes", compressor_->describe().id);
    return parts[0].kv;
  }

  std::vector<int32_t> raw_of(const Learned& d) const {
    std::vector<int32_t> tokens;
    for (const Segment& s : d.segments) {
      tokens.insert(tokens.end(), s.tokens.begin(), s.tokens.end());
    }
    return tokens;
  }

  // Ratio 0: behind the raw text.
  double f1(const Learned& d, double ratio, const model::LoraAdapter* adapter) {
    model::Sequence memory = decoder_.make_sequence();
    decoder_.append(
        {.sequence = &memory, .tokens = lead_, .adapter = adapter, .wants_logits = false});
    if (ratio > 0) {
      decoder_.attach(memory, slots_of(d, ratio));
    } else {
      const std::vector<int32_t> raw = raw_of(d);
      decoder_.append(
          {.sequence = &memory, .tokens = raw, .adapter = adapter, .wants_logits = false});
    }
    const std::vector<int32_t> stops =
        text::chat_stop_ids(model_.tokenizer(), model_.chat_format());
    double sum = 0;
    for (size_t first = 0; first < d.questions.size(); first += kTogether) {
      const size_t end = std::min(d.questions.size(), first + kTogether);
      std::vector<model::Sequence> sequences;
      std::vector<std::vector<int32_t>> tokens;
      for (size_t i = first; i < end; ++i) {
        sequences.push_back(memory.fork());
        tokens.push_back(tail(d.questions[i].text));
      }
      const auto answers = greedy(sequences, tokens, adapter, stops);
      for (size_t i = first; i < end; ++i) {
        sum += metrics::token_f1(text::decode(model_.tokenizer(), answers[i - first]),
                                 d.questions[i].references);
      }
    }
    return 100 * sum / static_cast<double>(d.questions.size());
  }

  // Continuations side by side.
  std::vector<std::vector<int32_t>> greedy(std::vector<model::Sequence>& sequences,
                                           std::vector<std::vector<int32_t>> tokens,
                                           const model::LoraAdapter* adapter,
                                           const std::vector<int32_t>& stops) {
    std::vector<std::vector<int32_t>> out(sequences.size());
    std::vector<size_t> open;
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (tokens[i].size() > 1) {  // all but the last, which the first step takes
        decoder_.append({.sequence = &sequences[i],
                         .tokens = std::span(tokens[i]).first(tokens[i].size() - 1),
                         .adapter = adapter,
                         .wants_logits = false});
      }
      tokens[i] = {tokens[i].back()};
      open.push_back(i);
    }
    for (int step = 0; step < kAnswerTokens && !open.empty(); ++step) {
      std::vector<model::Append> appends;
      for (const size_t i : open) {
        appends.push_back({.sequence = &sequences[i], .tokens = tokens[i], .adapter = adapter});
      }
      std::vector<int32_t> next(open.size());
      decoder_.step(appends, next);
      std::vector<size_t> still;
      for (size_t k = 0; k < open.size(); ++k) {
        if (std::find(stops.begin(), stops.end(), next[k]) == stops.end()) {
          out[open[k]].push_back(next[k]);
          tokens[open[k]] = {next[k]};
          still.push_back(open[k]);
        }
      }
      open = std::move(still);
    }
    return out;
  }

  std::optional<model::LoraAdapter> train_on(const std::vector<std::unique_ptr<Learned>>& documents,
                                             double ratio) {
    std::vector<train::TrainingSequence> sequences;
    for (const auto& d : documents) {
      const Tensor kv = ratio > 0 ? slots_of(*d, ratio) : Tensor();
      const std::vector<int32_t> raw = ratio > 0 ? std::vector<int32_t>() : raw_of(*d);
      for (size_t q = 0; q < std::min<size_t>(4, d->questions.size()); ++q) {
        train::TrainingSequence s{.tokens = lead_, .kv = kv, .kv_key = d->id};
        s.kv_at = static_cast<int32_t>(lead_.size());
        s.tokens.insert(s.tokens.end(), raw.begin(), raw.end());
        const std::vector<int32_t> asked = tail(d->questions[q].text);
        s.tokens.insert(s.tokens.end(), asked.begin(), asked.end());
        s.first_target = static_cast<int32_t>(s.tokens.size());
        const auto answer = learn::answer_tokens(model_.tokenizer(), model_.chat_format(),
                                                 d->questions[q].references.front());
        s.tokens.insert(s.tokens.end(), answer.begin(), answer.end());
        sequences.push_back(std::move(s));
      }
    }
    model::LoraAdapter made = model::on_device(
        ctx_, model::make_lora_adapter(model_.config(), {.rank = 16, .alpha = 32}));
    const model::Llama base(ctx_, model_.config(),
                            model::dequantised(ctx_, model_.llama().weights(), Dtype::bf16));
    train::LoraTask task(ctx_, base, made, std::move(sequences), {},
                         {.micro_batch_tokens = ratio > 0 ? 2048 : 8192,
                          .checkpointing = model::Checkpointing::per_layer,
                          .activations = ctx_.activations()});
    const auto result =
        train::train(ctx_, real_file_system(), task,
                     {.steps = flags_.steps, .accumulation = ratio > 0 ? 1 : 4, .lr = 1e-3f},
                     [](const train::StepReport&) { return true; });
    std::printf("adapter for %s: %lld steps, last loss %.3f\n", ratio > 0 ? "slots" : "raw text",
                static_cast<long long>(result.steps), result.last_loss);
    std::fflush(stdout);
    made.base = model_.fingerprint();
    return model::on_host(ctx_, made);
  }

  static constexpr size_t kTogether = 10;

  const Flags& flags_;
  backend::ComputeDevice device_;
  backend::ExecutionContext ctx_;
  model::LanguageModel model_;
  model::Decoder decoder_;
  ingest::TokenizerCounter counter_;
  compress::BaseModel base_;
  std::unique_ptr<compress::Compressor> compressor_;
  learn::TextFidelityMeter meter_;
  std::vector<double> ratios_;
  std::vector<int32_t> lead_;
  std::optional<model::LoraAdapter> raw_adapter_, slot_adapter_;
};

// What one document came to.
struct Point {
  std::string set;
  double score = 0, difference = 0;
};

// Mean and 95th percentile of the correlation when scores are dealt out anew.
std::pair<double, double> shuffled(std::vector<double> scores, const std::vector<double>& values) {
  Random random(1);
  std::vector<double> found;
  double sum = 0;
  for (int i = 0; i < 500; ++i) {
    for (size_t k = scores.size(); k > 1; --k) {
      std::swap(scores[k - 1], scores[random.below(k)]);
    }
    found.push_back(metrics::spearman(scores, values));
    sum += found.back();
  }
  std::sort(found.begin(), found.end());
  return {sum / static_cast<double>(found.size()), found[found.size() * 95 / 100]};
}

bool has_variation(const std::vector<double>& v) {
  return !v.empty() && std::any_of(v.begin(), v.end(), [&](double x) { return x != v[0]; });
}

// Prints the figures of a ratio; whether they hold.
bool judge(const std::vector<Point>& points, double ratio, const Flags& flags) {
  std::vector<double> scores;
  std::vector<double> values;
  for (const Point& p : points) {
    scores.push_back(p.score);
    values.push_back(p.difference);
  }
  if (flags.bar.sabotage && scores.size() > 1) {
    std::rotate(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(scores.size() / 2),
                scores.end());
  }
  if (points.size() < 3 || !has_variation(scores) || !has_variation(values)) {
    std::printf("%gx: nothing to compare\n", ratio);
    return false;
  }
  const double rho = metrics::spearman(scores, values);
  const auto [mean, high] = shuffled(scores, values);
  int passed = 0;
  int within = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const bool passes = learn::keeps_within(scores[i], flags.tolerance);
    passed += passes;
    within += passes && values[i] >= -flags.tolerance;
  }
  std::printf(
      "%gx, %zu documents: Spearman %.3f (bar %.1f), scores dealt out anew %.3f (95%% below %.3f); "
      "%d pass at %g points, of those %.0f%% lose no more (bar %.0f%%)\n",
      ratio, points.size(), rho, kSpearman, mean, high, passed, flags.tolerance,
      passed > 0 ? 100.0 * within / passed : 0, 100 * kWithin);
  const bool is_enough = flags.bar.quick || points.size() >= kFewestDocuments;
  return is_enough && rho >= kSpearman && rho > high && (passed == 0 || within >= kWithin * passed);
}

nlohmann::json as_json(const learn::ProbeReading& r) {
  nlohmann::json out;
  for (const auto& [name, sums] : {std::pair{"questions", &r.questions},
                                   {"recalls", &r.recalls},
                                   {"continuations", &r.continuations}}) {
    out[name] = {{"probes", sums->probes},
                 {"right", sums->right},
                 {"tokens", sums->tokens},
                 {"right_tokens", sums->right_tokens},
                 {"loss", sums->loss}};
  }
  return out;
}

int run(const Flags& flags) {
  const auto began = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  std::vector<std::filesystem::path> needed{flags.weights};
  for (const std::string& set : split_list(flags.sets)) {
    needed.push_back(bars::data_directory() / "data" / (set + ".jsonl.zst"));
  }
  for (const auto& path : needed) {
    if (!std::filesystem::exists(path)) {
      std::printf("missing: %s\n", path.c_str());
      return bars::kMissing;
    }
  }
  Measure measure(flags);
  if (flags.steps > 0) {
    measure.train();
    std::printf("trained after %.0f s\n", seconds());
  }
  std::vector<std::vector<std::unique_ptr<Learned>>> sets;
  size_t most = 0;
  for (const std::string& set : split_list(flags.sets)) {
    sets.push_back(measure.documents(set, false));
    most = std::max(most, sets.back().size());
  }
  std::map<double, std::vector<Point>> points;
  nlohmann::json json = nlohmann::json::array();
  for (size_t i = 0; i < most; ++i) {  // the sets in turn, so that a short run has all kinds
    for (const auto& set : sets) {
      if (i >= set.size() || seconds() > flags.seconds) {
        continue;
      }
      const Learned& d = *set[i];
      const Scores s = measure.score(d);
      nlohmann::json line{{"id", d.id},
                          {"set", d.set},
                          {"questions", d.questions.size()},
                          {"segments", d.segments.size()},
                          {"raw_f1", s.raw},
                          {"none", as_json(s.text.none)},
                          {"raw", as_json(s.text.raw)}};
      for (const double ratio : measure.ratios()) {
        points[ratio].push_back({d.set, s.text.score(ratio), s.slots.at(ratio) - s.raw});
        line["ratios"][fmt::format("{:g}", ratio)] = {{"f1", s.slots.at(ratio)},
                                                      {"score", s.text.score(ratio)},
                                                      {"probes", as_json(s.text.slots.at(ratio))}};
      }
      json.push_back(std::move(line));
    }
    if (!flags.json.empty() && i % 8 == 7) {
      std::ofstream(flags.json) << json.dump() << "\n";
    }
  }
  if (!flags.json.empty()) {
    std::ofstream(flags.json) << json.dump() << "\n";
  }
  bool holds = true;
  for (const double ratio : measure.ratios()) {
    holds &= judge(points[ratio], ratio, flags);
  }
  std::printf("%.0f s\n", seconds());
  return holds ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  try {
    return offbook::run(offbook::parse(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
