#include "src/compress/text_losses.h"

#include "src/autograd/functional.h"
#include "src/backend/transfer.h"
#include "src/model/attention_path.h"
#include "src/ops/registry.h"

namespace offbook::compress {
namespace {

// Rows of a pass that a teacher speaks about.
struct Lesson {
  std::vector<int32_t> rows;
  std::vector<int32_t> targets;
  std::vector<float> weights;  // of the gradient, × −1
};

// With p the student's distribution and q the teacher's, the gradient p·head − q·head of soft
// targets is that of the token, p·head − head[token], less the teacher's own, q·head − head[token]:
// a constant. `to` is the gradient of the student's rows before anything else arrives there.
void teach(const Graph& g, const Lesson& lesson, const Tensor& teacher, const Tensor& head,
           const Tensor& to) {
  const auto count = static_cast<int64_t>(lesson.rows.size());
  OB_CHECK(teacher.defined() && teacher.dim(0) == count);
  backend::ArenaScope scope(*g.ctx.arena);
  const ops::LinearCrossEntropyArgs said{
      .hidden = teacher,
      .head = head,
      .targets = model::make_ints(g.ctx, lesson.targets, {count}),
      .losses = g.ctx.make(Dtype::f32, {count}),
      .lse = g.ctx.make(Dtype::f32, {count})};
  ops::linear_cross_entropy(g.ctx, said);
  const Tensor weights = g.ctx.make(Dtype::f32, {count});
  backend::upload(g.ctx, std::as_bytes(std::span(lesson.weights)), weights);
  const Tensor gradient = g.ctx.make(teacher.dtype(), teacher.shape());
  ops::linear_cross_entropy_backward(g.ctx,
                                     {.forward = said, .d_losses = weights, .d_hidden = gradient});
  ops::scatter_rows(
      g.ctx, {.x = gradient, .index = model::make_ints(g.ctx, lesson.rows, {count}), .out = to});
}

}  // namespace

std::vector<train::LossSum> score_texts(const Graph& g, const Tensor& hidden, const Tensor& head,
                                        std::span<const TargetText> texts, const Tensor& teacher) {
  std::vector<int32_t> rows;
  std::vector<int32_t> targets;
  std::vector<float> weights;
  Lesson lesson;
  int32_t begin = 0;
  for (const TargetText& text : texts) {
    const auto n = static_cast<int32_t>(text.tokens.size());
    for (int32_t i = text.first_target; i < n; ++i) {
      if (text.teacher_share > 0) {
        lesson.rows.push_back(static_cast<int32_t>(rows.size()));
        lesson.targets.push_back(text.tokens[static_cast<size_t>(i)]);
        lesson.weights.push_back(-text.teacher_share * text.weight *
                                 (i == text.first_target ? text.first_weight : 1));
      }
      rows.push_back(begin + i - 1);
      targets.push_back(text.tokens[static_cast<size_t>(i)]);
      weights.push_back(text.weight * (i == text.first_target ? text.first_weight : 1));
    }
    begin += n;
  }
  OB_CHECK(begin == hidden.dim(0) && !targets.empty());
  const auto count = static_cast<int64_t>(targets.size());
  const Tensor wanted = autograd::gather_rows(g, hidden, model::make_ints(g.ctx, rows, {count}),
                                              autograd::Places::distinct);
  const Tensor losses =
      autograd::linear_cross_entropy(g, wanted, head, model::make_ints(g.ctx, targets, {count}));
  if (g.tape != nullptr) {
    backend::upload(g.ctx, std::as_bytes(std::span(weights)), g.tape->target(losses).tensor);
    if (!lesson.rows.empty()) {
      teach(g, lesson, teacher, head, g.tape->accumulator(wanted));
    }
  }
  std::vector<float> values(targets.size());
  backend::download(g.ctx, losses, std::as_writable_bytes(std::span(values)));
  std::vector<train::LossSum> out;
  size_t at = 0;
  for (const TargetText& text : texts) {
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
