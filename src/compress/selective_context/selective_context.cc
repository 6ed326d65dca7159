#include "src/compress/selective_context/selective_context.h"

namespace offbook::compress {

ScoredText score_text(const backend::ExecutionContext& ctx, const Scorer& scorer,
                      std::string_view text, const SurprisalOptions& options) {
  ScoredText out{.collapsed = collapse_white_space(text)};
  const std::vector<ByteSpan> sentences = reference_sentences(out.collapsed.text);
  out.sentences =
      score_sentences(ctx, scorer.model, scorer.tokenizer, out.collapsed.text, sentences, options);
  return out;
}

SelectedText select_text(const ScoredText& scored, std::span<const ByteSpan> phrases,
                         const TokenCount& count, const SelectiveContextOptions& options) {
  OB_REQUIRE(options.unit_ratio.has_value() != options.token_budget.has_value(), InvalidArgument,
             "Selective Context takes a share of units or a number of tokens, one of the two");
  OB_REQUIRE(options.token_budget.value_or(0) >= 0, InvalidArgument, "a budget of {} tokens",
             *options.token_budget);
  const std::string& text = scored.collapsed.text;
  std::vector<ByteSpan> chunks;
  if (options.units.level == UnitLevel::phrase) {
    chunks = phrases.empty() ? approximate_phrases(text) : to_collapsed(scored.collapsed, phrases);
  }
  const std::vector<Unit> units = make_units(text, scored.sentences, chunks, options.units);
  SelectedText out;
  out.keep = options.unit_ratio ? keep_by_percentile(units, *options.unit_ratio)
                                : keep_by_tokens(text, units, *options.token_budget, count);
  KeptUnits kept = join_units(text, units, out.keep);
  out.tokens_before = count(text);
  out.tokens_after = count(kept.text);
  out.text = std::move(kept.text);
  for (const ByteSpan& span : kept.spans) {
    out.spans.push_back(scored.collapsed.source_span(span));
  }
  return out;
}

}  // namespace offbook::compress
