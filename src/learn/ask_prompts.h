// The prompts of `ask`, for training and assessment.
#pragma once
#include "src/answer/answerer.h"
#include "src/learn/training_set.h"

namespace offbook::learn {

// Retrieval, focus and prompt are those of answerer.ask() with these options; the model is not run.
// The answerer must outlive it. Cost of a call: one retrieval and the encoder over its sentences.
PromptMaker ask_prompts(answer::Answerer& answerer, answer::AskOptions options);

}  // namespace offbook::learn
