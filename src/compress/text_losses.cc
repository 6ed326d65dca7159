#include "src/compress/text_losses.h"

#include "src/autograd/functional.h"
#include "src/backend/transfer.h"
#include "src/model/attention_path.h"

namespace offbook::compress {

std::vector<train::LossSum> score_texts(const Graph& g, const Tensor& hidden, const Tensor& head,
                                        std::span<const ScoredText> texts) {
  std::vector<int32_t> rows;
  std::vector<int32_t> targets;
  std::vector<float> weights;
  int32_t begin = 0;
  for (const ScoredText& text : texts) {
    const auto n = static_cast<int32_t>(text.tokens.size());
    for (int32_t i = text.first_target; i < n; ++i) {
      rows.push_back(begin + i - 1);
      targets.push_back(text.tokens[static_cast<size_t>(i)]);
      weights.push_back(text.weight * (i == text.first_target ? text.first_weight : 1));
    }
    begin += n;
  }
  OB_CHECK(begin == hidden.dim(0) && !targets.empty());
  const auto count = static_cast<int64_t>(targets.size());
  const Tensor wanted = autograd::gather_rows(g, hidden, model::make_ints(g.ctx, rows, {count}));
  const Tensor losses =
      autograd::linear_cross_entropy(g, wanted, head, model::make_ints(g.ctx, targets, {count}));
  if (g.tape != nullptr) {
    backend::upload(g.ctx, std::as_bytes(std::span(weights)), g.tape->target(losses).tensor);
  }
  std::vector<float> values(targets.size());
  backend::download(g.ctx, losses, std::as_writable_bytes(std::span(values)));
  std::vector<train::LossSum> out;
  size_t at = 0;
  for (const ScoredText& text : texts) {
    train::LossSum sum;
    for (auto i = static_cast<size_t>(text.first_target); i < text.tokens.size(); ++i) {
      sum.sum += values[at++];
      sum.count += 1;
    }
    out.push_back(sum);
  }
  return out;
}

}  // namespace offbook::compress
