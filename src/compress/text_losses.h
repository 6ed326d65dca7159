// Next-token losses of texts that were packed in one pass, with a weight a text.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "src/autograd/tape.h"
#include "src/train/trainer.h"

namespace offbook::compress {

using autograd::Graph;

// Tokens of a text and which of them count.
struct TargetText {
  std::span<const int32_t> tokens;
  int32_t first_target = 1;  // ≥ 1: each token is predicted from the one before it
  float weight = 1;          // × its losses and their gradient
  float first_weight = 1;    // × besides, for the first target alone
  // Of the gradient: how much comes from a teacher's distribution in place of the token itself.
  float teacher_share = 0;
};

// `hidden` [sum of lengths, hidden] holds the texts one behind another. Returns each text's losses,
// not weighted and of the tokens alone; with a tape, seeds the gradient of the weighted sum. Only
// rows with a target meet the vocabulary.
// `teacher` [targets of texts with a teacher_share, hidden]: what a teacher makes of the same
// places. docs/derivations/distillation.md
std::vector<train::LossSum> score_texts(const Graph& g, const Tensor& hidden, const Tensor& head,
                                        std::span<const TargetText> texts,
                                        const Tensor& teacher = {});

}  // namespace offbook::compress
