// Bar: questions on documents nothing was trained on, answered from a beacon's slots, from raw text
// of as many tokens, from retrieved passages and from nothing. Prints F1 a row with intervals over
// documents. Holds where slots at 8× come at least 65%, at 32× at least 35% of the way from no
// context to the whole text and lie above raw text of as many kept tokens, where the right memory
// is above another document's by 8 and 4 points, where 40 and 96 picked slots are not below 96 and
// 192 retrieved tokens, and retrieved text with slots not below retrieved text of as many kept
// tokens. With --steps each row has an adapter of its own, trained alike on the part for
// training.
//
// usage: bar_question_rows [--weights FILE] [--device D] [--set fairytaleqa] [--documents N]
//   [--questions N] [--steps N] [--lr X] [--rows REGEX] [--recipe FILE] [--json FILE] [--whole]
//   [--tune] [--quick] [--sabotage]
// --whole: every document of the set, not its part for testing alone; of sets no weights saw.
// --tune: the part that settings are chosen on, in place of that for testing. Other shares of slots
// in a budget ("focus, 320: 288 of text") run where --rows names them.
#include "bench/bars/bar.h"
#include "bench/bars/records.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <regex>

#include "src/backend/compute_device.h"
#include "src/base/random.h"
#include "src/compress/beacon/readings.h"
#include "src/compress/beacon/weights.h"
#include "src/compress/data/recipe.h"
#include "src/ingest/sentences.h"
#include "src/ingest/words.h"
#include "src/metrics/bootstrap.h"
#include "src/metrics/split.h"
#include "src/metrics/text_scores.h"
#include "src/model/adapter_device.h"
#include "src/model/language_model.h"
#include "src/retrieve/bm25.h"
#include "src/train/lora_task.h"

namespace offbook {
namespace {

using compress::Memory;
using compress::MemoryPiece;
using compress::Reading;
using compress::ReadingBatch;
using compress::ReadingModel;

constexpr int32_t kSegment = 1536;
constexpr int32_t kMostRaw = 7000;  // of a window of 8,192, with prompt and answer
constexpr int32_t kAnswerTokens = 24;
constexpr double kMargin =
    1.5;  // "not below": the interval of the difference stays above its negative

struct Question {
  std::vector<int32_t> prompt;  // behind the memory
  std::vector<int32_t> answer;  // the first reference, with its end
  std::vector<std::string> references;
  std::vector<std::string> words;
};

struct Passage {
  int32_t begin = 0, end = 0;  // tokens
  std::vector<std::string> words;
};

struct Document {
  std::string id;
  std::vector<int32_t> tokens;
  std::vector<Passage> passages;  // runs of sentences of up to 48 tokens
  std::vector<Question> questions;
};

enum class Kind : uint8_t { none, slots, raw_head, raw, retrieved, picked, focus };

struct Row {
  std::string name;
  Kind kind = Kind::none;
  int32_t ratio = 8;      // of slots; raw_head: of the slots whose number it has
  int32_t budget = 0;     // kept tokens of retrieved, picked and focus
  bool is_other = false;  // another document's memory
  int32_t raw = 0;        // focus: of the budget, for the best passages' text; slots get the rest
  bool is_extra = false;  // runs only where it is named
};

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> out;
  for (const ingest::Word& w : ingest::words_of(text, {0, text.size()})) {
    if (!ingest::is_function_word(w.text)) {
      std::string word(w.text.substr(0, 6));
      std::transform(word.begin(), word.end(), word.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      out.push_back(word);
    }
  }
  return out;
}

std::vector<size_t> ranked(const Document& d, const Question& q) {
  std::vector<std::vector<std::string>> words;
  for (const Passage& p : d.passages) {
    words.push_back(p.words);
  }
  return retrieve::best_first(retrieve::PassageBm25(words).scores(q.words));
}

class Rows {
 public:
  Rows(std::vector<int32_t> lead) : lead_(std::move(lead)) {}

  // Readings of the document's questions behind their memories; kept tokens are added up.
  void add(const Row& row, const Document& of, std::span<const Question* const> questions,
           bool has_answers, ReadingBatch& batch, double& kept) const {
    const bool asks_each =
        row.kind == Kind::retrieved || row.kind == Kind::picked || row.kind == Kind::focus;
    const bool has_slots =
        row.kind == Kind::slots || row.kind == Kind::picked || row.kind == Kind::focus;
    const int32_t slots = has_slots ? write_document(row.ratio, of, batch) : -1;
    int32_t memory = -1;
    Context context;
    for (const Question* q : questions) {
      if (memory < 0 || asks_each) {
        context = context_of(row, of, *q, slots, batch);
        batch.memories.push_back(std::move(context.memory));
        memory = static_cast<int32_t>(batch.memories.size()) - 1;
      }
      kept += context.kept;
      Reading r{.memory = memory, .tokens = context.text};
      r.tokens.insert(r.tokens.end(), q->prompt.begin(), q->prompt.end());
      r.first_target = static_cast<int32_t>(r.tokens.size());
      if (has_answers) {
        r.tokens.insert(r.tokens.end(), q->answer.begin(), q->answer.end());
      }
      batch.readings.push_back(std::move(r));
    }
  }

 private:
  // What a question is read behind.
  struct Context {
    Memory memory;
    std::vector<int32_t> text;  // between memory and question
    double kept = 0;            // slots and tokens of text
  };

  int32_t raw(const std::vector<int32_t>& text, ReadingBatch& batch) const {
    std::vector<int32_t> tokens = lead_;
    tokens.insert(tokens.end(), text.begin(), text.end());
    batch.sources.push_back({.tokens = std::move(tokens), .ratio = 0, .has_sink = false});
    return static_cast<int32_t>(batch.sources.size()) - 1;
  }

  // The document's slots, segment by segment, behind the prompt's beginning; the source of that,
  // the segments' follow.
  int32_t write_document(int32_t ratio, const Document& d, ReadingBatch& batch) const {
    const int32_t first = raw({}, batch);
    const auto size = static_cast<int32_t>(d.tokens.size());
    for (int32_t at = 0; at < size; at += kSegment) {
      batch.sources.push_back(
          {.tokens = {d.tokens.begin() + at, d.tokens.begin() + std::min(size, at + kSegment)},
           .ratio = ratio});
    }
    return first;
  }

  // The best of `from` that fit, one kept token for `ratio` of text; taken out of `from`, the best
  // last.
  static std::vector<Passage> fitting(std::vector<Passage>& from, int32_t budget, int32_t ratio) {
    std::vector<Passage> out;
    std::vector<Passage> rest;
    int32_t left = budget;
    bool is_full = false;  // what far, small passages would still fill is noise
    for (const Passage& p : from) {
      const int32_t cost = (p.end - 1) / ratio - p.begin / ratio + 1;
      if (cost <= left && !is_full) {
        left -= cost;
        out.push_back(p);
      } else {
        rest.push_back(p);
        is_full = is_full || left < budget / 4;
      }
    }
    from = std::move(rest);
    std::reverse(out.begin(), out.end());  // the best next to the question
    return out;
  }

  static std::vector<int32_t> text_of(const Document& d, const std::vector<Passage>& passages) {
    std::vector<int32_t> text;
    for (const Passage& p : passages) {
      text.insert(text.end(), d.tokens.begin() + p.begin, d.tokens.begin() + p.end);
    }
    return text;
  }

  // The slots of passages; one that closes two passages once.
  static double add_slots(const std::vector<Passage>& passages, int32_t ratio, int32_t first,
                          const ReadingBatch& batch, Memory& memory) {
    std::vector<std::vector<int32_t>> used(batch.sources.size());
    double kept = 0;
    for (const Passage& p : passages) {
      for (int32_t t = p.begin; t < p.end; t += ratio - t % ratio) {
        const int32_t source = first + t / kSegment;
        const int32_t slot = 1 + t % kSegment / ratio;
        auto& seen = used[static_cast<size_t>(source)];
        if (std::find(seen.begin(), seen.end(), slot) == seen.end()) {
          seen.push_back(slot);
          memory.pieces.push_back({.source = source, .rows = {slot}});
          ++kept;
        }
      }
    }
    return kept;
  }

  // `slots`: of write_document(), where the row reads slots.
  Context context_of(const Row& row, const Document& d, const Question& q, int32_t slots,
                     ReadingBatch& batch) const {
    const auto size = static_cast<int32_t>(d.tokens.size());
    std::vector<Passage> ranked_passages;
    for (const size_t i : ranked(d, q)) {
      ranked_passages.push_back(d.passages[i]);
    }
    Context out;
    if (row.kind == Kind::slots) {
      out.memory.pieces.push_back(batch.all_of(slots, true));
      for (int32_t s = slots + 1; s <= slots + (size + kSegment - 1) / kSegment; ++s) {
        out.memory.pieces.push_back(batch.all_of(s, false));
        out.kept += static_cast<double>(out.memory.pieces.back().rows.size());
      }
      return out;
    }
    if (row.kind == Kind::picked || row.kind == Kind::focus) {
      const std::vector<Passage> best = fitting(ranked_passages, row.raw, 1);
      out.text = text_of(d, best);
      const auto used = static_cast<int32_t>(out.text.size());
      out.memory.pieces.push_back(batch.all_of(slots, true));
      out.kept = used + add_slots(fitting(ranked_passages, row.budget - used, row.ratio), row.ratio,
                                  slots + 1, batch, out.memory);
      return out;
    }
    std::vector<int32_t> text;
    if (row.kind == Kind::raw) {
      text.assign(d.tokens.begin(), d.tokens.begin() + std::min(size, kMostRaw));
    } else if (row.kind == Kind::raw_head) {
      text.assign(d.tokens.begin(), d.tokens.begin() + (size + row.ratio - 1) / row.ratio);
    } else if (row.kind == Kind::retrieved) {
      text = text_of(d, fitting(ranked_passages, row.budget, 1));
    }
    out.kept = static_cast<double>(text.size());
    out.memory.pieces.push_back(batch.all_of(raw(text, batch), true));
    return out;
  }

  std::vector<int32_t> lead_;
};

// An adapter of a row: answers' losses on documents for training.
class RowTask final : public train::TrainingTask {
 public:
  RowTask(const backend::ExecutionContext& ctx, const ReadingModel& model,
          const model::LoraAdapter& adapter, const Rows& rows, const Row& row,
          const std::vector<Document>& documents, int32_t at_once)
      : model_(model),
        rows_(rows),
        row_(row),
        documents_(documents),
        at_once_(at_once),
        parameters_(train::lora_parameters(ctx, adapter)) {}

  std::vector<train::Parameter>& parameters() override { return parameters_; }
  std::optional<train::LossSum> evaluate(const autograd::Graph&) override { return std::nullopt; }
  train::LossSum micro_batch(const autograd::Graph& g, uint64_t seed) override {
    Random random(seed);
    ReadingBatch batch;
    double kept = 0;
    for (int32_t i = 0; i < at_once_; ++i) {
      const Document& d = documents_[random.below(documents_.size())];
      std::vector<const Question*> questions;
      for (int k = 0; k < 8; ++k) {
        questions.push_back(&d.questions[random.below(d.questions.size())]);
      }
      rows_.add(row_, d, questions, true, batch, kept);
    }
    train::LossSum total;
    for (const train::LossSum& part : compress::read_batch(g, model_, batch)) {
      total.sum += part.sum;
      total.count += part.count;
    }
    return total;
  }

 private:
  const ReadingModel& model_;
  const Rows& rows_;
  const Row& row_;
  const std::vector<Document>& documents_;
  int32_t at_once_;
  std::vector<train::Parameter> parameters_;
};

struct Flags {
  bars::Options bar;
  std::string weights, device = "auto", set = "fairytaleqa", recipe = "recipes/beacon.json", json;
  std::string rows;  // regular expression of the rows that run; empty: all
  size_t documents = 1000, questions = 1000;
  int64_t steps = 0;
  float lr = 3e-4f;
  bool is_whole = false, is_tuning = false;
};

Flags parse(int argc, char** argv) {
  Flags f{.bar = bars::parse(argc, argv)};
  const char* known = std::getenv("OFFBOOK_BEACON");
  f.weights = known != nullptr ? known : "models/smollm2-135m-instruct/beacon.safetensors";
  f.is_whole = std::find(argv + 1, argv + argc, std::string_view("--whole")) != argv + argc;
  f.is_tuning = std::find(argv + 1, argv + argc, std::string_view("--tune")) != argv + argc;
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    for (const auto& [known_name, text] : {std::pair{"--weights", &f.weights},
                                           {"--device", &f.device},
                                           {"--set", &f.set},
                                           {"--recipe", &f.recipe},
                                           {"--json", &f.json},
                                           {"--rows", &f.rows}}) {
      *text = name == known_name ? value : *text;
    }
    f.documents = name == "--documents" ? std::stoul(value) : f.documents;
    f.questions = name == "--questions" ? std::stoul(value) : f.questions;
    f.steps = name == "--steps" ? std::stol(value) : f.steps;
    f.lr = name == "--lr" ? std::stof(value) : f.lr;
  }
  OB_REQUIRE(!f.is_whole || f.steps == 0, InvalidArgument,
             "--whole leaves no documents to train adapters on");
  if (f.bar.quick) {
    f.documents = std::min<size_t>(f.documents, 3);
    f.questions = std::min<size_t>(f.questions, 2);
  }
  return f;
}

Document read_document(const nlohmann::json& record, const model::LanguageModel& model,
                       const compress::DataRecipe& wording, std::vector<int32_t>& lead) {
  const text::Tokenizer& tokenizer = model.tokenizer();
  Document d{.id = record.at("id").get<std::string>()};
  const auto text = record.at("text").get<std::string>();
  const text::Encoding encoded = tokenizer.encode(text, {.add_special = false});
  d.tokens = encoded.ids;
  size_t at = 0;
  for (const ByteSpan p : ingest::split_paragraphs(text)) {
    for (const ByteSpan s :
         ingest::split_sentences(std::string_view(text).substr(p.begin, p.end - p.begin))) {
      const size_t begin = at;
      while (at < encoded.spans.size() && encoded.spans[at].begin < p.begin + s.end) {
        ++at;
      }
      if (at == begin) {
        continue;
      }
      const std::string sentence = text.substr(p.begin + s.begin, s.end - s.begin);
      const auto words = words_of(sentence);
      if (!d.passages.empty() && static_cast<int32_t>(at) - d.passages.back().begin <= 48) {
        d.passages.back().end = static_cast<int32_t>(at);
        d.passages.back().words.insert(d.passages.back().words.end(), words.begin(), words.end());
      } else {
        d.passages.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(at), words});
      }
    }
  }
  const auto stops = text::chat_stop_ids(tokenizer, model.chat_format());
  for (const auto& q : record.at("questions")) {
    const auto asked = q.at("question").get<std::string>();
    const std::vector<text::ChatMessage> messages{
        {"system", wording.system, {}},
        {"user", fmt::format("{}\nQuestion: {}", wording.instruction, asked), {0}}};
    const text::ChatPrompt chat = text::render_chat(tokenizer, model.chat_format(), messages);
    const auto cut = static_cast<std::ptrdiff_t>(chat.cuts.front());
    lead.assign(chat.ids.begin(), chat.ids.begin() + cut);
    Question question{.prompt = {chat.ids.begin() + cut, chat.ids.end()}, .words = words_of(asked)};
    question.references = q.at("answers").get<std::vector<std::string>>();
    question.answer =
        tokenizer
            .encode(question.references.front(), {.add_special = false, .is_continuation = true})
            .ids;
    question.answer.push_back(stops.front());
    d.questions.push_back(std::move(question));
  }
  return d;
}

struct Result {
  std::vector<metrics::DocumentScores> f1;
  double kept = 0;
};

int run(const Flags& flags) {
  const auto path = bars::data_directory() / "data" / (flags.set + ".jsonl.zst");
  for (const std::filesystem::path& needed :
       {std::filesystem::path(flags.weights), path, std::filesystem::path(flags.recipe)}) {
    if (!std::filesystem::exists(needed)) {
      std::printf("missing: %s\n", needed.c_str());
      return bars::kMissing;
    }
  }
  backend::ComputeDevice device({.name = flags.device});
  const backend::ExecutionContext ctx = device.context(backend::Compute::bf16);
  const model::LanguageModel model(real_file_system(),
                                   bars::model_directory() / "smollm2-135m-instruct", ctx, {});
  const model::Llama base(ctx, model.config(),
                          dequantised(ctx, model.llama().weights(), Dtype::bf16));
  const compress::BeaconWeights weights = compress::on_device(
      ctx, compress::take_beacon(
               compress::load_weights(real_file_system(), flags.weights, model.fingerprint()),
               model.config()));
  const model::Llama writer(ctx, model.config(),
                            merged(ctx, base.weights(), weights.lora, Dtype::bf16));
  const compress::DataRecipe wording = compress::read_recipe(real_file_system(), flags.recipe);
  std::vector<int32_t> lead;
  std::vector<Document> train_part;
  std::vector<Document> test_part;
  for (const nlohmann::json& record : bars::lines_of(bars::decompressed(path))) {
    const auto part = metrics::split_part(record.at("id").get<std::string>());
    const bool is_test = flags.is_whole || part == (flags.is_tuning ? metrics::SplitPart::tune
                                                                    : metrics::SplitPart::test);
    if (is_test && test_part.size() < flags.documents) {
      test_part.push_back(read_document(record, model, wording, lead));
    } else if (!is_test && part == metrics::SplitPart::train && flags.steps > 0) {
      train_part.push_back(read_document(record, model, wording, lead));
    }
  }
  const Rows rows(lead);
  const std::vector<Row> all{{"none", Kind::none},
                             {"8x slots", Kind::slots, 8},
                             {"8x slots of another document", Kind::slots, 8, 0, true},
                             {"raw, as many tokens as 8x", Kind::raw_head, 8},
                             {"32x slots", Kind::slots, 32},
                             {"32x slots of another document", Kind::slots, 32, 0, true},
                             {"raw, as many tokens as 32x", Kind::raw_head, 32},
                             {"retrieved, 96 tokens", Kind::retrieved, 8, 96},
                             {"retrieved, 192 tokens", Kind::retrieved, 8, 192},
                             {"retrieved, 320 tokens", Kind::retrieved, 8, 320},
                             {"picked 8x slots, 40 at most", Kind::picked, 8, 40},
                             {"picked 8x slots, 96 at most", Kind::picked, 8, 96},
                             {"focus, 96: 64 of text", Kind::focus, 8, 96, false, 64},
                             {"focus, 320: 256 of text", Kind::focus, 8, 320, false, 256},
                             {"focus, 96: 86 of text", Kind::focus, 8, 96, false, 86, true},
                             {"focus, 96: 48 of text", Kind::focus, 8, 96, false, 48, true},
                             {"focus, 320: 288 of text", Kind::focus, 8, 320, false, 288, true},
                             {"focus, 320: 160 of text", Kind::focus, 8, 320, false, 160, true},
                             {"the whole text", Kind::raw}};
  const auto stops = text::chat_stop_ids(model.tokenizer(), model.chat_format());
  const int32_t at_once = device.is_gpu() ? 16 : 1;
  std::map<std::string, Result> results;
  model::LoraAdapter adapter;
  nlohmann::json json = nlohmann::json::object();
  for (const Row& row : all) {
    if (flags.rows.empty() ? row.is_extra : !std::regex_search(row.name, std::regex(flags.rows))) {
      continue;
    }
    ReadingModel reading{
        .base = base,
        .writer = &writer,
        .weights = weights,
        .reader = row.kind == Kind::slots || row.kind == Kind::picked || row.kind == Kind::focus
                      ? weights.reader_or_null()
                      : nullptr,
        .activations = ctx.activations()};
    if (flags.steps > 0) {
      if (!row.is_other) {  // another document's memory is read under the row's own adapter
        adapter = model::on_device(
            ctx, model::make_lora_adapter(model.config(), {.rank = 16, .alpha = 32}));
        reading.reader = &adapter;
        RowTask task(ctx, reading, adapter, rows, row, train_part, at_once);
        train::train(
            ctx, real_file_system(), task,
            {.steps = flags.steps, .accumulation = 16 / at_once, .lr = flags.lr, .seed = 1},
            [](const train::StepReport&) { return true; });
      }
      reading.reader = &adapter;
    }
    Result& result = results[row.name];
    double kept = 0;
    for (size_t first = 0; first < test_part.size(); first += static_cast<size_t>(at_once)) {
      backend::ArenaScope scope(*ctx.arena);
      const size_t end = std::min(first + static_cast<size_t>(at_once), test_part.size());
      ReadingBatch batch;
      std::vector<std::pair<const Document*, const Question*>> asked;
      for (size_t i = first; i < end; ++i) {
        const Document& d = test_part[i];
        const bool is_wrong = row.is_other || (flags.bar.sabotage && row.kind == Kind::slots);
        const Document& of = is_wrong ? test_part[(i + 1) % test_part.size()] : d;
        std::vector<const Question*> questions;
        const size_t count = std::min(flags.questions, d.questions.size());
        for (size_t q = 0; q < count; ++q) {
          questions.push_back(&d.questions[q * d.questions.size() / count]);
          asked.emplace_back(&d, questions.back());
        }
        rows.add(row, of, questions, false, batch, kept);
      }
      const auto answers = compress::greedy_answers(ctx, reading, batch, kAnswerTokens, stops);
      OB_CHECK(answers.size() == asked.size());
      for (size_t q = 0; q < answers.size(); ++q) {
        const auto& [document, question] = asked[q];
        if (result.f1.empty() || result.f1.back().id != document->id) {
          result.f1.push_back({.id = document->id});
        }
        result.f1.back().sum += 100 * metrics::token_f1(text::decode(model.tokenizer(), answers[q]),
                                                        question->references);
        ++result.f1.back().questions;
      }
    }
    const metrics::Interval mean = metrics::bootstrap_mean(result.f1);
    result.kept = kept / static_cast<double>(mean.questions);
    std::printf("%-32s F1 %5.1f [%.1f, %.1f]  kept %6.0f  %lld questions of %lld documents\n",
                row.name.c_str(), mean.estimate, mean.low, mean.high, result.kept,
                static_cast<long long>(mean.questions), static_cast<long long>(mean.documents));
    std::fflush(stdout);
    json[row.name] = {{"f1", mean.estimate},
                      {"low", mean.low},
                      {"high", mean.high},
                      {"kept", result.kept},
                      {"questions", mean.questions}};
  }
  // False where a row was not asked for, or `holds` does not.
  const auto difference = [&](const std::string& a, const std::string& b, auto&& holds) {
    if (!results.contains(a) || !results.contains(b)) {
      return false;
    }
    const metrics::Interval d = metrics::bootstrap_difference(results.at(a).f1, results.at(b).f1);
    std::printf("%s − %s: %+.1f [%+.1f, %+.1f]\n", a.c_str(), b.c_str(), d.estimate, d.low, d.high);
    json["differences"][a + " − " + b] = {d.estimate, d.low, d.high};
    return holds(d);
  };
  const auto above = [](const metrics::Interval& d) { return d.low > 0; };
  const auto not_below = [](const metrics::Interval& d) { return d.low >= -kMargin; };
  bool holds = true;
  holds &= difference("8x slots", "8x slots of another document",
                      [](const auto& d) { return d.estimate >= 8; });
  holds &= difference("32x slots", "32x slots of another document",
                      [](const auto& d) { return d.estimate >= 4; });
  holds &= difference("8x slots", "raw, as many tokens as 8x", above);
  holds &= difference("32x slots", "raw, as many tokens as 32x", above);
  holds &= difference("picked 8x slots, 40 at most", "retrieved, 96 tokens", not_below);
  holds &= difference("picked 8x slots, 96 at most", "retrieved, 192 tokens", not_below);
  holds &= difference("focus, 96: 64 of text", "retrieved, 96 tokens", not_below);
  holds &= difference("focus, 320: 256 of text", "retrieved, 320 tokens", not_below);
  for (const auto& [row, bar] : {std::pair{"8x slots", 0.65}, std::pair{"32x slots", 0.35}}) {
    bool is_whole = true;
    for (const char* needed : {"none", "the whole text", row}) {
      is_whole = is_whole && json.contains(needed);
    }
    holds = holds && is_whole;
    if (is_whole) {
      const auto f1 = [&](const char* name) { return json[name].at("f1").get<double>(); };
      const double way = (f1(row) - f1("none")) / (f1("the whole text") - f1("none"));
      std::printf("of the way from none to the whole text, %s: %.2f (bar %.2f)\n", row, way, bar);
      json["way"][row] = way;
      holds &= way >= bar;
    }
  }
  if (!flags.json.empty()) {
    std::ofstream(flags.json) << json.dump(1) << "\n";
  }
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
