// Bar: guessing from the prompt. Prompts that ask for the supporting sentence word for word are
// answered with and without PromptLookup in turn, from the same prefilled sequence: the same
// tokens, ≥ 1.5× as fast in sum; on prompts that ask for other words never below 0.97×. Sabotaged,
// the text to copy from is shuffled.
#include "bench/bars/bar.h"
#include "bench/bars/records.h"

#include <chrono>
#include <cstdio>
#include <random>

#include "src/backend/context.h"
#include "src/model/generate.h"
#include "src/model/language_model.h"

namespace offbook {
namespace {

using nlohmann::json;

constexpr size_t kPrompts = 200;
constexpr size_t kQuick = 12;
constexpr double kCopying = 1.5;
constexpr double kOther = 0.97;

struct Question {
  std::string paragraph, question;
};

// Answerable questions, spread over the documents, with the paragraph their answer stands in.
std::vector<Question> questions(size_t wanted) {
  const auto records =
      bars::lines_of(bars::decompressed(bars::data_directory() / "data/squad.jsonl.zst"));
  std::vector<Question> out;
  for (size_t round = 0; out.size() < wanted && round < 400; ++round) {
    for (const json& record : records) {
      const json& all = record["questions"];
      if (out.size() == wanted || round * 7 >= all.size()) {
        continue;
      }
      const json& q = all[round * 7];
      const auto answer = q["answers"][0].get<std::string>();
      const auto text = record["text"].get<std::string>();
      const size_t at = text.find(answer);
      if (at == std::string::npos) {
        continue;
      }
      size_t begin = text.rfind("\n\n", at);
      begin = begin == std::string::npos ? 0 : begin + 2;
      out.push_back({text.substr(begin, std::min(text.find("\n\n", at), text.size()) - begin),
                     q["question"]});
    }
  }
  return out;
}

class Comparison {
 public:
  Comparison(const model::LanguageModel& model, model::Decoder& decoder, bool is_sabotaged)
      : model_(model), decoder_(decoder), is_sabotaged_(is_sabotaged) {}

  // Answers one prompt both ways; the order changes from prompt to prompt.
  void add(const std::string& content) {
    const text::ChatMessage message{.role = "user", .content = content};
    const std::vector<int32_t> prompt =
        text::render_chat(model_.tokenizer(), model_.chat_format(), std::span(&message, 1)).ids;
    const bool is_first = prompts_++ % 2 == 0;
    const auto a = answer(prompt, is_first);
    const auto b = answer(prompt, !is_first);
    (is_first ? with_ : without_) += a.first;
    (is_first ? without_ : with_) += b.first;
    different_ += a.second.tokens != b.second.tokens;
    tokens_ += a.second.tokens.size();
    passes_ += static_cast<size_t>(is_first ? a.second.passes : b.second.passes);
  }

  size_t prompts() const { return prompts_; }

  bool holds(const char* what, double bar) const {
    const double ratio = without_ / with_;
    std::printf(
        "%s: %zu prompts, %zu tokens in %zu passes; %.1f against %.1f tokens/s: %.2f x (bar %.2f), "
        "%zu answers differ\n",
        what, prompts_, tokens_, passes_, static_cast<double>(tokens_) / with_,
        static_cast<double>(tokens_) / without_, ratio, bar, different_);
    return ratio >= bar && different_ == 0;
  }

 private:
  std::pair<double, model::Generated> answer(const std::vector<int32_t>& prompt, bool with_lookup) {
    model::Sequence sequence = decoder_.make_sequence();
    const Tensor logits = decoder_.append({.sequence = &sequence, .tokens = prompt});
    model::GenerateOptions options{
        .max_tokens = 64,
        .stop_tokens = text::chat_stop_ids(model_.tokenizer(), model_.chat_format())};
    if (with_lookup) {
      options.lookup = prompt;
      if (is_sabotaged_) {
        std::shuffle(options.lookup.begin(), options.lookup.end(), std::mt19937(1));
      }
    }
    const auto began = std::chrono::steady_clock::now();
    model::Generated made =
        model::generate(decoder_, model_.tokenizer(), sequence, logits, options);
    return {std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(),
            std::move(made)};
  }

  const model::LanguageModel& model_;
  model::Decoder& decoder_;
  bool is_sabotaged_;
  double with_ = 0, without_ = 0;  // seconds
  size_t prompts_ = 0, tokens_ = 0, passes_ = 0, different_ = 0;
};

int run(const bars::Options& options) {
  const std::filesystem::path models = bars::model_directory();
  if (!real_file_system().stat(models / "smollm2-135m-instruct") ||
      !real_file_system().stat(bars::data_directory() / "data/squad.jsonl.zst")) {
    std::printf("the default model or squad.jsonl.zst is missing\n");
    return bars::kMissing;
  }
  backend::ThreadPool pool(backend::default_thread_count());
  const model::LanguageModel model(real_file_system(), models / "smollm2-135m-instruct", pool,
                                   {.backend = backend::best_cpu_backend()});
  model::Decoder decoder = model.make_decoder(pool, 4096);
  Comparison copying(model, decoder, options.sabotage);
  Comparison other(model, decoder, options.sabotage);
  const std::vector<Question> all = questions(options.quick ? kQuick : kPrompts);
  for (const Question& q : all) {
    copying.add(
        fmt::format("{}\n\nCopy the sentence of this text that answers the question, word for "
                    "word.\nQuestion: {}",
                    q.paragraph, q.question));
    other.add(fmt::format("Write a short story for children about this, in your own words: {}",
                          q.question));
    if (copying.prompts() % 50 == 0 && copying.prompts() < all.size()) {
      copying.holds("so far, word for word", kCopying);
      other.holds("so far, other prompts", kOther);
      std::fflush(stdout);
    }
  }
  const bool copies = copying.holds("word for word", kCopying);
  const bool harms_nothing = other.holds("other prompts", kOther);
  return copies && harms_nothing ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::run(offbook::bars::parse(argc, argv));
}
