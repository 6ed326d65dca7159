// Gradients of score_texts(): tokens, and a teacher's distribution in their place.
#include "src/compress/text_losses.h"

#include <cmath>

#include <gtest/gtest.h>

#include "src/compress/test_model.h"

namespace offbook::compress {
namespace {

constexpr int64_t kDim = 5, kVocab = 11;

std::vector<double> softmax(const float* row, const Tensor& head) {
  std::vector<double> out;
  double sum = 0;
  for (int64_t v = 0; v < kVocab; ++v) {
    double z = 0;
    for (int64_t i = 0; i < kDim; ++i) {
      z += static_cast<double>(row[i]) * static_cast<double>(head.data<float>()[v * kDim + i]);
    }
    out.push_back(std::exp(z));
    sum += out.back();
  }
  for (double& p : out) {
    p /= sum;
  }
  return out;
}

TEST(ScoreTexts, ATeachersDistributionStandsInPlaceOfTheTokens) {
  testing_models::TinyModel tiny;
  std::mt19937 rng(5);
  const Tensor hidden = testing_models::random_tensor({7, kDim}, 1, rng);
  const Tensor head = testing_models::random_tensor({kVocab, kDim}, 1, rng);
  const Tensor teacher = testing_models::random_tensor({3, kDim}, 1, rng);
  const Tensor grad = Tensor::zeros(Dtype::f32, hidden.shape());
  const std::vector<int32_t> first{3, 1, 9};
  const std::vector<int32_t> second{4, 10, 0, 7};
  const std::vector<TargetText> texts{
      {.tokens = first, .weight = 2},
      {.tokens = second, .weight = 0.5f, .first_weight = 3, .teacher_share = 0.75f}};
  autograd::Tape tape(tiny.ctx);
  tape.watch(hidden, grad);
  const auto sums = score_texts({tiny.ctx, &tape}, hidden, head, texts, teacher);
  tape.backward();
  // Row of the pass, its target, weight, share of the teacher and the teacher's row.
  struct Place {
    int64_t row, target;
    double weight, share;
    int64_t teacher;
  };
  const Place places[] = {{0, 1, 2, 0, 0},
                          {1, 9, 2, 0, 0},
                          {3, 10, 1.5, 0.75, 0},
                          {4, 0, 0.5, 0.75, 1},
                          {5, 7, 0.5, 0.75, 2}};
  std::vector<double> wanted(static_cast<size_t>(hidden.numel()), 0.0);
  double loss = 0;
  for (const Place& p : places) {
    const auto said = softmax(hidden.data<float>() + p.row * kDim, head);
    const auto taught = softmax(teacher.data<float>() + p.teacher * kDim, head);
    for (int64_t v = 0; v < kVocab; ++v) {
      const auto at = static_cast<size_t>(v);
      const double goal = (1 - p.share) * (v == p.target ? 1 : 0) + p.share * taught[at];
      for (int64_t i = 0; i < kDim; ++i) {
        wanted[static_cast<size_t>(p.row * kDim + i)] +=
            p.weight * (said[at] - goal) * static_cast<double>(head.data<float>()[v * kDim + i]);
      }
    }
    loss -= p.row >= 3 ? std::log(said[static_cast<size_t>(p.target)]) : 0;
  }
  for (int64_t i = 0; i < grad.numel(); ++i) {
    EXPECT_NEAR(grad.data<float>()[i], wanted[static_cast<size_t>(i)], 1e-5) << i;
  }
  EXPECT_NEAR(sums[1].sum, loss, 1e-4);  // the figure is of the tokens
  EXPECT_EQ(sums[1].count, 3);
}

}  // namespace
}  // namespace offbook::compress
