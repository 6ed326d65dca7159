#include "src/learn/assess.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <set>

#include "src/ingest/content_hash.h"
#include "src/learn/adapter_files.h"
#include "src/metrics/text_scores.h"
#include "src/model/generate.h"

namespace offbook::learn {
namespace {

double mean(const std::vector<double>& values) {
  return values.empty() ? 0
                        : std::accumulate(values.begin(), values.end(), 0.0) /
                              static_cast<double>(values.size());
}

// Exact, so that a resumed run has the same bits.
std::string exact(double value) {
  return fmt::format("{:a}", value);
}

std::optional<double> score_in(const std::string& detail) {
  char* end = nullptr;
  const double value = std::strtod(detail.c_str(), &end);
  return end != detail.c_str() && *end == 0 ? std::optional(value) : std::nullopt;
}

std::string input_of(const answer::Prompt& prompt, const Example& e, int max_tokens) {
  std::string text;
  for (const answer::PromptPart& part : prompt) {
    text += fmt::format("\n{} {} ", part.length(), part.key);
    text.append(reinterpret_cast<const char*>(part.tokens.data()),
                part.tokens.size() * sizeof(int32_t));
  }
  for (const std::string& answer : e.answers) {
    text += '\n' + answer;
  }
  return ingest::hash_text(fmt::format("{}\n{}", max_tokens, text));
}

// Greedy answers with one contestant.
class Reader {
 public:
  Reader(const Contestant& contestant, const model::LanguageModel& model, model::Decoder& decoder,
         const AssessOptions& options)
      : contestant_(contestant), model_(model), decoder_(decoder), options_(options) {}

  double f1(const answer::Prompt& prompt, const Example& example) {
    if (prompt.empty()) {
      return 0;
    }
    const bool is_whole = prompt.size() == 1;
    model::Sequence sequence = is_whole ? decoder_.make_sequence() : begin(prompt.front());
    const Tensor logits = finish(sequence, std::span(prompt).subspan(is_whole ? 0 : 1));
    const model::Generated made = model::generate(
        decoder_, model_.tokenizer(), sequence, logits,
        {.sampling = options_.sampling,
         .max_tokens = options_.max_answer_tokens,
         .stop_tokens = text::chat_stop_ids(model_.tokenizer(), model_.chat_format()),
         .stop_strings = options_.stop_strings,
         .adapter = contestant_.adapter});
    return metrics::token_f1(made.text, example.answers);
  }

 private:
  // What all prompts begin with is run once. Prompts are always cut behind their first part, so a
  // score does not depend on those that were taken before: a resumed run has the same bits.
  model::Sequence begin(const answer::PromptPart& first) {
    if (!beginning_ || beginning_tokens_ != first.tokens) {
      beginning_ = decoder_.make_sequence();
      beginning_tokens_ = first.tokens;
      decoder_.append({.sequence = &*beginning_,
                       .tokens = first.tokens,
                       .adapter = contestant_.adapter,
                       .wants_logits = false});
    }
    return beginning_->fork();
  }

  // The other parts, which end with tokens; tokens that follow each other go in one pass.
  Tensor finish(model::Sequence& sequence, std::span<const answer::PromptPart> parts) {
    std::vector<int32_t> tokens;
    Tensor logits;
    const auto flush = [&] {
      if (!tokens.empty()) {
        logits = decoder_.append(
            {.sequence = &sequence, .tokens = tokens, .adapter = contestant_.adapter});
        tokens.clear();
      }
    };
    for (const answer::PromptPart& part : parts) {
      tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
      if (part.kv.defined()) {
        flush();
        decoder_.attach(sequence, part.kv);
      } else if (part.soft_tokens.defined()) {
        flush();
        decoder_.append({.sequence = &sequence,
                         .soft_tokens = part.soft_tokens,
                         .adapter = contestant_.adapter,
                         .wants_logits = false});
      }
    }
    flush();
    return logits;
  }

  std::optional<model::Sequence> beginning_;
  std::vector<int32_t> beginning_tokens_;
  const Contestant& contestant_;
  const model::LanguageModel& model_;
  model::Decoder& decoder_;
  const AssessOptions& options_;
};

// What answers without the new adapter: of the group, else of all.
std::string answers_now(store::Corpus& corpus, int64_t generation, const std::string& group,
                        const Fingerprint& base) {
  const auto of_groups = usable_group_adapters(corpus, generation, base);
  if (const auto own = of_groups.find(group); own != of_groups.end()) {
    return own->second;
  }
  return usable_adapter(corpus, generation, base).value_or("");
}

// A group without an adapter of its own is answered with the generation's.
void use_adapter(store::Corpus& corpus, int64_t generation, const std::string& group,
                 const std::string& adapter, const std::string& note) {
  if (group.empty()) {
    corpus.generations().set_adapter(generation, adapter);
  } else {
    corpus.generations().set_group_adapter(generation, group, adapter, note);
  }
}

}  // namespace

std::vector<double> score_answers(store::Corpus& corpus, const std::vector<Example>& questions,
                                  const Contestant& contestant, const PromptMaker& prompt_of,
                                  const model::LanguageModel& model, model::Decoder& decoder,
                                  const AssessOptions& options) {
  const std::string stage = std::string(kStageAssess) + "/" + contestant.id;
  std::vector<answer::Prompt> prompts;
  std::vector<store::WorkUnit> units;
  std::map<std::string, size_t> place;
  for (const Example& e : questions) {
    prompts.push_back(prompt_of(e.question));
    units.push_back({e.id, input_of(prompts.back(), e, options.max_answer_tokens)});
    place[e.id] = prompts.size() - 1;
  }
  corpus.jobs().plan(stage, units);
  const auto total = static_cast<int64_t>(units.size());
  int64_t done = corpus.jobs().counts(stage).done;
  Reader reader(contestant, model, decoder, options);
  while (const auto job = corpus.jobs().claim(stage)) {
    OB_REQUIRE(!options.stop.stop_requested(), Cancelled,
               "assessment was stopped after {} of {} answers; the same command goes on from there",
               done, total);
    const size_t at = place.at(job->unit);
    corpus.jobs().complete(stage, job->unit, exact(reader.f1(prompts[at], questions[at])));
    if (options.on_progress) {
      options.on_progress(++done, total);
    }
  }
  std::vector<double> scores;
  for (const Example& e : questions) {
    const auto job = corpus.jobs().find(stage, e.id);
    const auto score = job ? score_in(job->detail) : std::nullopt;
    OB_REQUIRE(score, Corrupt, "the score of question {} is missing; run assess again", e.id);
    scores.push_back(*score);
  }
  return scores;
}

std::string Comparison::verdict() const {
  return fmt::format(
      "F1 {:.3f} before, {:.3f} after; difference {:+.3f} (95% {:+.3f} to {:+.3f}) on {} held-back "
      "questions of {} documents: {}",
      before, after, difference.estimate, difference.low, difference.high, difference.questions,
      difference.documents, is_not_worse ? "not worse" : "not shown to be as good");
}

Comparison compare(const std::vector<std::string>& document_ids, const std::vector<double>& before,
                   const std::vector<double>& after, double margin) {
  OB_REQUIRE(document_ids.size() == before.size() && before.size() == after.size(), InvalidArgument,
             "{} questions, {} and {} scores", document_ids.size(), before.size(), after.size());
  Comparison out{.before = mean(before), .after = mean(after)};
  const std::set<std::string> documents(document_ids.begin(), document_ids.end());
  std::vector<std::string> units = document_ids;
  if (documents.size() < 2) {
    for (size_t i = 0; i < units.size(); ++i) {
      units[i] = fmt::format("{:08}", i);
    }
  }
  out.difference = {.estimate = out.after - out.before, .low = -1, .high = 1};
  if (units.size() >= 2) {
    out.difference = metrics::bootstrap_difference(metrics::gather_by_document(units, after),
                                                   metrics::gather_by_document(units, before));
  }
  out.difference.documents = static_cast<int64_t>(documents.size());
  out.difference.questions = static_cast<int64_t>(document_ids.size());
  out.is_not_worse = out.difference.low >= -margin;
  return out;
}

AdapterVerdict assess_adapter(store::Corpus& corpus, int64_t generation, const std::string& adapter,
                              const std::vector<Example>& held_out, const PromptMaker& prompt_of,
                              const model::LanguageModel& model, model::Decoder& decoder,
                              const AssessOptions& options) {
  const std::vector<Example> questions = spread(held_out, options.max_questions);
  AdapterVerdict verdict{.questions = static_cast<int64_t>(questions.size())};
  const std::string otherwise =
      options.is_against_base ? ""
                              : answers_now(corpus, generation, options.group, model.fingerprint());
  if (otherwise == adapter) {
    verdict.is_accepted = true;
    verdict.note = "the adapter is the one that answers already";
    return verdict;
  }
  if (questions.empty()) {
    verdict.note = "no question was held back, so the new adapter was not judged and is not used";
    if (options.group.empty()) {
      use_adapter(corpus, generation, "", otherwise, verdict.note);
    }
    return verdict;
  }
  std::optional<model::LoraAdapter> old;
  if (!otherwise.empty()) {
    old = load_adapter(corpus, otherwise, model.fingerprint());
  }
  const model::LoraAdapter made = load_adapter(corpus, adapter, model.fingerprint());
  const auto score = [&](const std::string& id, const model::LoraAdapter* with) {
    // A group's questions are others: what they score is kept apart.
    const Contestant contestant{
        (id.empty() ? "base" : id) + (options.group.empty() ? "" : "@" + options.group), with};
    return score_answers(corpus, questions, contestant, prompt_of, model, decoder, options);
  };
  const std::vector<double> before = score(otherwise, old ? &*old : options.reader);
  const std::vector<double> after = score(adapter, &made);
  std::vector<std::string> documents;
  for (const Example& e : questions) {
    documents.push_back(e.document_id);
  }
  verdict.comparison = compare(documents, before, after, options.margin);
  verdict.documents = verdict.comparison.difference.documents;
  verdict.is_accepted = verdict.comparison.is_not_worse;
  verdict.note = "adapter " + adapter.substr(0, 8) + ": " + verdict.comparison.verdict() +
                 (verdict.is_accepted ? "; it answers from now on" : "; it is not used");
  if (verdict.is_accepted || options.group.empty()) {
    use_adapter(corpus, generation, options.group, verdict.is_accepted ? adapter : otherwise,
                verdict.note);
  }
  return verdict;
}

store::Fidelity fidelity_of(int64_t document, const std::string& method,
                            const std::vector<double>& compressed, const std::vector<double>& raw,
                            double floor) {
  OB_REQUIRE(compressed.size() == raw.size(), InvalidArgument,
             "{} scores from the compressed form, {} from raw text", compressed.size(), raw.size());
  store::Fidelity out{
      .document = document, .method = method, .questions = static_cast<int>(raw.size())};
  const auto ratio = [&](std::span<const uint32_t> drawn) {
    double above = 0, below = 0;
    for (const uint32_t i : drawn) {
      above += compressed[i];
      below += raw[i];
    }
    return below > 0 ? above / below : 0;
  };
  if (raw.size() < 2) {
    return out;
  }
  // Two-sided 80%: each end is a 90% bound by itself.
  const metrics::Interval interval =
      metrics::bootstrap_statistic(raw.size(), ratio, {.resamples = 2000, .confidence = 0.8});
  out.score = interval.estimate;
  out.lower = interval.low;
  out.upper = interval.high;
  out.use_slots = out.questions >= kFewestFidelityQuestions && out.lower >= floor;
  return out;
}

}  // namespace offbook::learn
