#include "src/learn/text_fidelity.h"

#include <algorithm>

#include "src/answer/answerer.h"
#include "src/base/random.h"
#include "src/compress/data/rule_tasks.h"
#include "src/ingest/content_hash.h"
#include "src/ingest/sentences.h"
#include "src/learn/host_logits.h"

namespace offbook::learn {
namespace {

using compress::ContextPart;

// Rows of a pass of probes, and probes in it: their logits take 200 KB a row.
constexpr size_t kPassRows = 480;
constexpr size_t kPassTargets = 160;

// A question as `ask` puts it, behind whatever stands before: the lead, and the rest.
text::ChatPrompt question_prompt(const model::LanguageModel& model, const std::string& question) {
  const answer::Wording wording;
  const std::vector<text::ChatMessage> messages{
      {"system", wording.system, {}},
      {"user", fmt::format("{}\nQuestion: {}", wording.instruction, question), {0}}};
  return text::render_chat(model.tokenizer(), model.chat_format(), messages);
}

std::vector<int32_t> lead_of(const model::LanguageModel& model) {
  const text::ChatPrompt chat = question_prompt(model, "?");
  return {chat.ids.begin(), chat.ids.begin() + static_cast<std::ptrdiff_t>(chat.cuts.front())};
}

// Up to `count` of the items, evenly spread.
template <typename T>
std::vector<T> spread_out(std::vector<T> items, size_t count) {
  if (items.size() <= count) {
    return items;
  }
  std::vector<T> out;
  for (size_t i = 0; i < count; ++i) {
    out.push_back(std::move(items[(2 * i + 1) * items.size() / (2 * count)]));
  }
  return out;
}

// Names the segment's text, so that probes depend on it alone.
uint64_t seed_of(const Segment& segment, uint64_t seed) {
  const std::string hash = ingest::hash_text({reinterpret_cast<const char*>(segment.tokens.data()),
                                              segment.tokens.size() * sizeof(int32_t)});
  return seed ^ std::stoull(hash.substr(0, 16), nullptr, 16);
}

void add_questions(const Segment& segment, std::string_view text, const model::LanguageModel& model,
                   const ProbeOptions& options, std::vector<Probe>& out) {
  Random random(seed_of(segment, options.seed));
  // All there are; the shares are a thousand tokens' worth.
  const compress::RuleShare all{.asked = 1000, .cloze = 1000, .keywords = 0};
  auto found =
      compress::rule_examples(text, static_cast<int64_t>(segment.tokens.size()), all, random);
  // Real questions before clozes: they are what a person asks.
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return (a.kind == compress::ExampleKind::asked) > (b.kind == compress::ExampleKind::asked);
  });
  const auto asked = std::count_if(found.begin(), found.end(), [](const auto& e) {
    return e.kind == compress::ExampleKind::asked;
  });
  found.resize(std::min(found.size(), std::max(options.questions, static_cast<size_t>(asked))));
  for (const auto& e : spread_out(std::move(found), options.questions)) {
    const text::ChatPrompt chat = question_prompt(model, e.question);
    Probe probe{
        .kind = Probe::Kind::question,
        .cue = {chat.ids.begin() + static_cast<std::ptrdiff_t>(chat.cuts.front()), chat.ids.end()},
        .target = model.tokenizer().encode(e.answer, {.add_special = false}).ids};
    if (!probe.target.empty()) {
      out.push_back(std::move(probe));
    }
  }
}

void add_recalls(const Segment& segment, std::string_view text, const ProbeOptions& options,
                 std::vector<Probe>& out) {
  std::vector<Probe> found;
  size_t at = 0;
  for (const ByteSpan p : ingest::split_paragraphs(text)) {
    for (const ByteSpan s : ingest::split_sentences(text.substr(p.begin, p.end - p.begin))) {
      const uint64_t begin = segment.span.begin + p.begin + s.begin;
      const uint64_t end = segment.span.begin + p.begin + s.end;
      while (at < segment.token_spans.size() && segment.token_spans[at].end <= begin) {
        ++at;
      }
      size_t last = at;
      while (last < segment.token_spans.size() && segment.token_spans[last].begin < end) {
        ++last;
      }
      const auto cue = static_cast<size_t>(options.recall_cue);
      if (last - at >= 2 * cue) {
        const auto first = segment.tokens.begin() + static_cast<std::ptrdiff_t>(at);
        const auto told = first + options.recall_cue;
        const auto most = static_cast<std::ptrdiff_t>(
            std::min(last - at - cue, static_cast<size_t>(options.recall_tokens)));
        found.push_back(
            {.kind = Probe::Kind::recall, .cue = {first, told}, .target = {told, told + most}});
      }
      at = last;
    }
  }
  for (Probe& p : spread_out(std::move(found), options.recalls)) {
    out.push_back(std::move(p));
  }
}

double share(const ProbeSums& none, const ProbeSums& slots, const ProbeSums& raw) {
  const double worth = none.mean_loss() - raw.mean_loss();
  return worth <= 0 ? 0 : std::min(1.0, (none.mean_loss() - slots.mean_loss()) / worth);
}

}  // namespace

std::vector<Probe> make_probes(const Segment& segment, std::string_view text,
                               std::span<const int32_t> next, const model::LanguageModel& model,
                               const ProbeOptions& options) {
  std::vector<Probe> out;
  add_questions(segment, text, model, options, out);
  add_recalls(segment, text, options, out);
  if (const size_t told = std::min(next.size(), static_cast<size_t>(options.continued_tokens));
      told >= 2) {
    out.push_back({.kind = Probe::Kind::continuation,
                   .cue = {next.begin(), next.begin() + 1},
                   .target = {next.begin() + 1, next.begin() + static_cast<std::ptrdiff_t>(told)}});
  }
  return out;
}

ProbeSums& ProbeSums::operator+=(const ProbeSums& other) {
  probes += other.probes;
  right += other.right;
  tokens += other.tokens;
  right_tokens += other.right_tokens;
  loss += other.loss;
  return *this;
}

ProbeSums& ProbeReading::of(Probe::Kind kind) {
  return kind == Probe::Kind::question ? questions
         : kind == Probe::Kind::recall ? recalls
                                       : continuations;
}

ProbeReading& ProbeReading::operator+=(const ProbeReading& other) {
  questions += other.questions;
  recalls += other.recalls;
  continuations += other.continuations;
  return *this;
}

double TextFidelity::score(double ratio) const {
  const auto at = slots.find(ratio);
  OB_REQUIRE(at != slots.end(), InvalidArgument, "nothing was measured at ratio {}", ratio);
  return share(none.questions, at->second.questions, raw.questions);
}

bool keeps_within(double score, double points) {
  constexpr double kLostAtZero = 30;  // points of F1 where slots keep nothing
  return kLostAtZero * (1 - score) <= points;
}

TextFidelityMeter::TextFidelityMeter(const model::LanguageModel& model, model::Decoder& decoder,
                                     const compress::Compressor& compressor,
                                     const backend::ExecutionContext& writing,
                                     const ProbeOptions& options)
    : model_(model),
      decoder_(decoder),
      compressor_(compressor),
      writing_(writing),
      options_(options),
      lead_(lead_of(model)) {
  OB_REQUIRE(!compressor.describe().is_query_aware, InvalidArgument,
             "the method {} reads the question and keeps nothing that could be measured beforehand",
             compressor.describe().id);
}

TextFidelity TextFidelityMeter::measure(std::span<const TextSegment> document,
                                        std::span<const double> ratios,
                                        const ProbeReaders& readers) {
  TextFidelity out;
  std::vector<size_t> places(document.size());
  for (size_t i = 0; i < places.size(); ++i) {
    places[i] = i;
  }
  for (const size_t i : spread_out(std::move(places), options_.segments)) {
    const TextSegment& s = document[i];
    const auto next = i + 1 < document.size()
                          ? std::span<const int32_t>(document[i + 1].segment->tokens)
                          : std::span<const int32_t>();
    const std::vector<Probe> probes = make_probes(*s.segment, s.text, next, model_, options_);
    if (probes.empty()) {
      continue;
    }
    out.none += read(probes, {}, readers.with_raw);
    out.raw += read(probes, {{.tokens = s.segment->tokens}}, readers.with_raw);
    for (const double ratio : ratios) {
      const compress::Request request{
          .segment = s.segment, .text = s.text, .budget = {.ratio = ratio}};
      const CompressedContext context =
          compressor_.compress(writing_, std::span(&request, 1)).front();
      const compress::Attachment attachment{&context, {}};
      const auto* own = compressor_.reader_adapter();
      out.slots[ratio] +=
          read(probes, compressor_.attach(std::span(&attachment, 1), {.has_text_before = true}),
               own != nullptr ? own : readers.with_slots);
    }
  }
  for (const double ratio : ratios) {
    out.slots.try_emplace(ratio);
  }
  return out;
}

model::Sequence TextFidelityMeter::behind(const std::vector<ContextPart>& parts,
                                          const model::LoraAdapter* adapter) {
  model::Sequence sequence = decoder_.make_sequence();
  decoder_.append(
      {.sequence = &sequence, .tokens = lead_, .adapter = adapter, .wants_logits = false});
  for (const ContextPart& part : parts) {
    if (part.kv.defined()) {
      decoder_.attach(sequence, part.kv);
    } else {
      decoder_.append({.sequence = &sequence,
                       .tokens = part.tokens,
                       .soft_tokens = part.soft_tokens,
                       .adapter = adapter,
                       .wants_logits = false});
    }
  }
  return sequence;
}

ProbeReading TextFidelityMeter::read(std::span<const Probe> probes,
                                     const std::vector<ContextPart>& parts,
                                     const model::LoraAdapter* adapter) {
  const model::Sequence memory = behind(parts, adapter);
  ProbeReading out;
  for (size_t first = 0; first < probes.size();) {
    std::vector<model::Sequence> sequences;
    std::vector<std::vector<int32_t>> tokens;
    size_t rows = 0;
    size_t targets = 0;
    size_t end = first;
    for (; end < probes.size(); ++end) {
      const Probe& p = probes[end];
      const size_t more = p.cue.size() + p.target.size() - 1;
      if (end > first && (rows + more > kPassRows || targets + p.target.size() > kPassTargets)) {
        break;
      }
      rows += more;
      targets += p.target.size();
      tokens.push_back(p.cue);
      tokens.back().insert(tokens.back().end(), p.target.begin(), p.target.end() - 1);
      sequences.push_back(memory.fork());
    }
    std::vector<model::Append> appends;
    for (size_t i = first; i < end; ++i) {
      appends.push_back({.sequence = &sequences[i - first],
                         .tokens = tokens[i - first],
                         .adapter = adapter,
                         .logit_rows = static_cast<int32_t>(probes[i].target.size())});
    }
    const HostLogits logits(decoder_.ctx(), decoder_.append(appends));
    size_t row = 0;
    for (size_t i = first; i < end; ++i) {
      ProbeSums sums{.probes = 1, .tokens = static_cast<int64_t>(probes[i].target.size())};
      for (const int32_t wanted : probes[i].target) {
        sums.right_tokens += likeliest(logits.row(row)) == wanted;
        sums.loss -= log_probability_of(logits.row(row), wanted);
        ++row;
      }
      sums.right = sums.right_tokens == sums.tokens;
      out.of(probes[i].kind) += sums;
    }
    first = end;
  }
  return out;
}

}  // namespace offbook::learn
