#include "src/answer/slots.h"

#include <algorithm>
#include <cmath>

#include "src/ingest/content_hash.h"

namespace offbook::answer {
namespace {

// How far around the passages found their documents' other passages are taken in.
constexpr int kNeighbours = 8;

bool holds(std::span<const FocusText> raw, int64_t document, int ordinal) {
  return std::any_of(raw.begin(), raw.end(), [&](const FocusText& t) {
    return t.document == document &&
           std::any_of(t.passages.begin(), t.passages.end(),
                       [&](const Passage& p) { return p.ordinal == ordinal; });
  });
}

// Positions that some of a context's slots take. Pieces of kept text are of different lengths.
double positions_of(const CompressedContext& context, const std::set<int32_t>& slots) {
  if (context.kind != ContextKind::text) {
    return static_cast<double>(slots.size());
  }
  double all = 0;
  double these = 0;
  for (size_t i = 0; i < context.slot_spans.size(); ++i) {
    const auto bytes = static_cast<double>(context.slot_spans[i].end - context.slot_spans[i].begin);
    all += bytes;
    these += slots.contains(static_cast<int32_t>(i)) ? bytes : 0;
  }
  return all > 0 ? std::ceil(context.tokens_after * these / all) : 0;
}

PromptPart as_part(const compress::ContextPart& part, const std::string& key) {
  const bool is_text = !part.tokens.empty();
  return {.name = is_text ? "kept text" : "slots",
          .tokens = part.tokens,
          .soft_tokens = part.soft_tokens,
          .kv = part.kv,
          .key = is_text ? "" : key};
}

}  // namespace

SlotUse slot_use_named(std::string_view name) {
  static constexpr std::string_view kNames[] = {"auto", "always", "never", "only"};
  const auto* at = std::find(std::begin(kNames), std::end(kNames), name);
  OB_REQUIRE(at != std::end(kNames), InvalidArgument,
             "slots are used auto, always, never or only, not '{}'", name);
  return static_cast<SlotUse>(at - std::begin(kNames));
}

SlotSource::SlotSource(store::Corpus& corpus, const compress::Compressor& compressor,
                       const compress::BaseModel& base, const backend::ExecutionContext& ctx,
                       Config config)
    : corpus_(corpus), compressor_(compressor), base_(base), ctx_(ctx), config_(std::move(config)) {
  OB_REQUIRE(!compressor.describe().is_query_aware, InvalidArgument,
             "the method {} reads the question and keeps nothing beforehand",
             compressor.describe().id);
}

bool SlotSource::has_any(SlotUse use) const {
  return use != SlotUse::never && (use != SlotUse::automatic || !config_.trusted.empty());
}

store::ContextRecipe SlotSource::recipe_of(int64_t document) const {
  store::ContextRecipe recipe = config_.recipe;
  if (!config_.ratios.empty()) {
    recipe.ratio = config_.ratios.at(document);
  }
  return recipe;
}

bool SlotSource::may_use(int64_t document, SlotUse use) const {
  if (const auto own = config_.ratios.find(document);
      !config_.ratios.empty() && (own == config_.ratios.end() || own->second <= 0)) {
    return false;
  }
  return use == SlotUse::automatic ? config_.trusted.contains(document) : use != SlotUse::never;
}

std::vector<SlotSource::Candidate> SlotSource::candidates(
    std::span<const retrieve::RankedPassage> ranked, std::span<const FocusText> raw, SlotUse use) {
  std::vector<Candidate> out;
  std::set<Place> seen;
  const auto add = [&](int64_t document, const std::string& path, int ordinal) {
    if (may_use(document, use) && !holds(raw, document, ordinal) &&
        seen.insert({document, ordinal}).second) {
      out.push_back({document, path, ordinal});
    }
  };
  for (const retrieve::RankedPassage& r : ranked) {
    add(store::document_of(r.passage.id), r.path, r.passage.ordinal);
  }
  if (use == SlotUse::only) {
    return out;  // the passages that would be raw, nothing beside them
  }
  for (int distance = 1; distance <= kNeighbours; ++distance) {
    for (const retrieve::RankedPassage& r : ranked) {
      for (const int ordinal : {r.passage.ordinal + distance, r.passage.ordinal - distance}) {
        if (ordinal >= 0) {
          add(store::document_of(r.passage.id), r.path, ordinal);
        }
      }
    }
  }
  return out;
}

std::shared_ptr<const SlotSource::Loaded> SlotSource::load(int64_t document, int passage_ordinal) {
  for (auto it = loaded_.begin(); it != loaded_.end(); ++it) {
    const Segment& s = it->second->segment;
    if (it->first == document && s.first_passage <= passage_ordinal &&
        passage_ordinal <= s.last_passage) {
      loaded_.splice(loaded_.begin(), loaded_, it);
      return loaded_.front().second;
    }
  }
  auto segment = corpus_.contexts().segment_of(document, passage_ordinal);
  if (!segment) {
    return nullptr;  // past the end, or the document was never cut in segments
  }
  const store::ContextRecipe recipe = recipe_of(document);
  std::string key = store::context_key(*segment, recipe);
  auto context = corpus_.contexts().get(document, segment->ordinal, recipe);
  if (!context) {
    const std::string text = corpus_.documents().text(document, segment->span);
    const compress::Request request{
        .segment = &*segment, .text = text, .budget = {.ratio = recipe.ratio}};
    context = compressor_.compress(ctx_, std::span(&request, 1)).front();
    made_.push_back({document, *segment, *context});
  }
  loaded_.emplace_front(document, std::make_shared<Loaded>(Loaded{
                                      std::move(key), std::move(*segment), std::move(*context)}));
  if (loaded_.size() > config_.kept_contexts) {
    loaded_.pop_back();
  }
  return loaded_.front().second;
}

SlotText SlotSource::choose(std::span<const retrieve::RankedPassage> ranked,
                            std::span<const FocusText> raw, SlotUse use, int budget_tokens,
                            int max_passages) {
  std::map<Place, Picked> picked;
  std::vector<SlotPassage> passages;
  double total = 0;
  for (const Candidate& c : candidates(ranked, raw, use)) {
    if (static_cast<int>(passages.size()) >= max_passages) {
      break;
    }
    const auto loaded = load(c.document, c.ordinal);
    if (loaded == nullptr) {
      continue;
    }
    const Passage passage =
        corpus_.documents().passage(c.document << store::kOrdinalBits | c.ordinal);
    const std::vector<int32_t> slots = compress::slots_at(loaded->context, passage.span);
    const Place place{c.document, loaded->segment.ordinal};
    const auto there = picked.find(place);
    Picked with = there == picked.end() ? Picked{.from = loaded} : there->second;
    const double before = with.positions;
    with.slots.insert(slots.begin(), slots.end());
    with.positions = positions_of(loaded->context, with.slots);
    if (total - before + with.positions > budget_tokens) {
      break;  // the budget is full; what fits in its last corner is worth less
    }
    if (!slots.empty()) {
      total += with.positions - before;
      picked[place] = std::move(with);
      passages.push_back(
          {c.document, c.path, c.ordinal, passage.span, static_cast<int>(slots.size())});
    }
  }
  SlotText out = join(picked);
  out.passages = std::move(passages);
  return out;
}

SlotText SlotSource::join(const std::map<Place, Picked>& picked) {
  std::string names = config_.recipe.method + config_.recipe.weights_hash;
  std::vector<compress::Attachment> attachments;
  for (const auto& [place, p] : picked) {
    names += fmt::format("\n{} {}", p.from->key, fmt::join(p.slots, " "));
    attachments.push_back({&p.from->context, std::vector<int32_t>(p.slots.begin(), p.slots.end())});
    used_.push_back(place);
  }
  SlotText out;
  const std::string key = ingest::hash_text(names);
  for (const compress::ContextPart& part :
       compressor_.attach(attachments, {.has_text_before = true})) {
    out.parts.push_back(as_part(part, key));
    out.tokens += out.parts.back().length();
  }
  return out;
}

}  // namespace offbook::answer
