#include "src/learn/forecast.h"

#include <algorithm>
#include <chrono>

#include "src/model/adapter_device.h"

namespace offbook::learn {
namespace {

// Share of tried questions that are kept: 16 of 76 on 24 passages of two example documents,
// embedded model. Tokens of a question the model writes and of a greedy answer: assumptions, not
// measured.
constexpr double kKeptShare = 0.21;
constexpr double kQuestionTokens = 18;
constexpr double kAnswerTokens = 14;
constexpr double kHeldOutShare = 0.2;
constexpr double kBytesPerExample = 600;

constexpr int kPromptTokens = 384;
constexpr int kDecodeSteps = 6;

double seconds_of(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::max(1e-6,
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
}

std::vector<int32_t> some_tokens(const model::LanguageModel& model, int count) {
  std::vector<int32_t> out(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    out[static_cast<size_t>(i)] = (i * 37 + 11) % static_cast<int32_t>(model.config().vocab_size);
  }
  return out;
}

double training_rate(const model::LanguageModel& model, const backend::ExecutionContext& outer) {
  backend::ExecutionContext ctx = outer;
  ctx.compute = backend::Compute::bf16;
  model::LoraAdapter adapter = model::on_device(ctx, model::make_lora_adapter(model.config(), {}));
  const model::Llama base(ctx, model.config(),
                          model::dequantised(ctx, model.llama().weights(), Dtype::bf16));
  train::LoraTask task(
      ctx, base, adapter,
      {{.tokens = some_tokens(model, kPromptTokens), .first_target = kPromptTokens - 12}}, {},
      {.activations = ctx.activations()});
  const auto pass = [&] {
    backend::ArenaScope scope(*ctx.arena);
    autograd::Tape tape(ctx);
    for (train::Parameter& p : task.parameters()) {
      tape.watch(p.value, p.grad);
    }
    task.micro_batch(train::Graph{ctx, &tape}, 0);
    tape.backward();
  };
  pass();  // first use takes the memory
  return kPromptTokens / seconds_of(pass);
}

double questions_expected(const StudyWork& work, const SelfStudyOptions& study) {
  if (work.given_questions > 0) {
    return static_cast<double>(work.given_questions);
  }
  const double passages =
      std::min<double>(static_cast<double>(work.passages), static_cast<double>(study.max_passages));
  return passages * (study.rule_questions + study.model_questions) * kKeptShare;
}

}  // namespace

ModelRates measure_rates(const model::LanguageModel& model, model::Decoder& decoder,
                         const backend::ExecutionContext& ctx) {
  ModelRates rates;
  const int prompt =
      std::min<int>(kPromptTokens, static_cast<int>(model.config().max_positions) / 2);
  const std::vector<int32_t> tokens = some_tokens(model, prompt);
  model::Sequence sequence = decoder.make_sequence();
  const auto prefill = [&] {
    sequence = decoder.make_sequence();
    decoder.append({.sequence = &sequence, .tokens = tokens});
  };
  prefill();  // first use reads the weights in
  rates.prefill = prompt / seconds_of(prefill);
  rates.decode = kDecodeSteps / seconds_of([&] {
                   for (int i = 0; i < kDecodeSteps; ++i) {
                     decoder.append({.sequence = &sequence, .tokens = std::span(tokens).first(1)});
                   }
                 });
  rates.training = training_rate(model, ctx);
  return rates;
}

StageCost forecast_study(const StudyWork& work, const ModelRates& rates,
                         const SelfStudyOptions& options) {
  if (work.given_questions > 0) {
    return {};
  }
  const int64_t each = tokens_of_study(work.passage_tokens, options);
  const int64_t passages = std::min({work.passages, int64_t{options.max_passages},
                                     options.max_tokens / std::max<int64_t>(1, each)});
  const double decoded = static_cast<double>(passages * options.model_questions) * kQuestionTokens;
  const auto tried =
      static_cast<double>(passages * (options.rule_questions + options.model_questions));
  return {.seconds = static_cast<double>(passages * each) / rates.prefill +
                     decoded / (2 * rates.decode),  // several sequences share a step
          .disk_bytes = static_cast<uint64_t>(tried * kBytesPerExample)};
}

StageCost forecast_training(const StudyWork& work, const ModelRates& rates,
                            const model::ModelConfig& config, const SelfStudyOptions& study,
                            const TrainStageOptions& options) {
  const double questions = questions_expected(work, study);
  if (questions < 1) {
    return {};
  }
  const double set = questions * (1 - kHeldOutShare) * static_cast<double>(work.prompt_tokens);
  const int64_t steps = training_steps(static_cast<int64_t>(set), options);
  const double trained =
      static_cast<double>(steps) * options.micro_batch_tokens * options.accumulation;
  const double held_out =
      std::min(questions * kHeldOutShare, static_cast<double>(options.max_held_out)) *
      static_cast<double>(work.prompt_tokens) * (options.evaluations + 1);
  double parameters = 0;
  for (const model::LoraTarget target : options.lora.targets) {
    const Shape shape = model::target_shape(config, target);
    parameters += static_cast<double>(options.lora.rank * (shape[0] + shape[1]) * config.layers);
  }
  const double matrices =
      2.0 * static_cast<double>(config.layers) *
      static_cast<double>(2 * config.hidden * (config.q_width() + config.kv_width()) +
                          3 * config.hidden * config.ffn);
  const double rows = static_cast<double>(options.micro_batch_tokens) * 4 *
                      static_cast<double>(config.hidden * (config.layers + 24) + 4 * config.ffn);
  return {.seconds = trained / rates.training + held_out / (3 * rates.training) +
                     questions * work.seconds_per_prompt,
          // The finished adapter; the state while it runs has value, best and two moments.
          .disk_bytes = static_cast<uint64_t>(parameters * 4 * 5),
          .memory_bytes =
              static_cast<uint64_t>(matrices + rows + parameters * 4 * 5 +
                                    4.0 * static_cast<double>(config.vocab_size * config.hidden) +
                                    static_cast<double>(train::LoraTaskOptions{}.kept_bytes))};
}

namespace {

// Answers that fidelity takes: two a question of every document with questions enough.
double fidelity_answers(const StudyWork& work, const SelfStudyOptions& study,
                        const FidelityOptions& fidelity) {
  const double documents = static_cast<double>(std::max<int64_t>(1, work.documents));
  const double of_each = questions_expected(work, study) / documents;
  if (!work.has_contexts || of_each < 2 * kFewestFidelityQuestions) {
    return 0;
  }
  const double judged =
      std::min(std::max<double>(kFewestFidelityQuestions, of_each * kHeldOutShare),
               static_cast<double>(fidelity.max_questions));
  return std::min(2 * judged * documents, static_cast<double>(fidelity.max_answers));
}

}  // namespace

StageCost forecast_assess(const StudyWork& work, const ModelRates& rates,
                          const SelfStudyOptions& study, const AssessOptions& options,
                          const FidelityOptions& fidelity) {
  const double questions = std::min(questions_expected(work, study) * kHeldOutShare,
                                    static_cast<double>(options.max_questions));
  const double each =
      static_cast<double>(work.prompt_tokens) / rates.prefill + kAnswerTokens / rates.decode;
  return {.seconds = questions * (2 * each + work.seconds_per_prompt) +
                     fidelity_answers(work, study, fidelity) * (each + work.seconds_per_prompt)};
}

std::optional<TrainingLimits> fit_to_seconds(
    double seconds, const StudyWork& work, const ModelRates& rates,
    const model::ModelConfig& config, const SelfStudyOptions& study, const TrainStageOptions& train,
    const AssessOptions& assess, const FidelityOptions& fidelity) {
  constexpr int kFewestPassages = 4;
  constexpr size_t kFewestQuestions = 10;
  const auto limits = [&](double factor) {
    const auto part = [&](auto n, auto least) {
      return std::max(std::min(n, least),
                      static_cast<decltype(n)>(static_cast<double>(n) * factor));
    };
    return TrainingLimits{
        .passages = part(study.max_passages, kFewestPassages),
        .study_tokens = part(study.max_tokens, int64_t{kFewestPassages} * 1000),
        .train_tokens = part(train.max_tokens, int64_t{train.micro_batch_tokens}),
        .questions = part(assess.max_questions, kFewestQuestions),
        .answers = part(fidelity.max_answers, size_t{2 * kFewestFidelityQuestions})};
  };
  const auto cost = [&](const TrainingLimits& l) {
    SelfStudyOptions s = study;
    s.max_passages = l.passages;
    s.max_tokens = l.study_tokens;
    TrainStageOptions t = train;
    t.max_tokens = l.train_tokens;
    AssessOptions a = assess;
    a.max_questions = l.questions;
    FidelityOptions f = fidelity;
    f.max_answers = l.answers;
    return forecast_study(work, rates, s).seconds +
           forecast_training(work, rates, config, s, t).seconds +
           forecast_assess(work, rates, s, a, f).seconds;
  };
  if (cost(limits(0)) > seconds) {
    return std::nullopt;
  }
  double low = 0, high = 1;
  if (cost(limits(1)) <= seconds) {
    return limits(1);
  }
  for (int i = 0; i < 20; ++i) {
    const double middle = (low + high) / 2;
    (cost(limits(middle)) <= seconds ? low : high) = middle;
  }
  return limits(low);
}

}  // namespace offbook::learn
