#include "src/learn/ask_prompts.h"

namespace offbook::learn {

PromptMaker ask_prompts(answer::Answerer& answerer, answer::AskOptions options) {
  options.prompt_only = true;
  options.on_evidence = nullptr;
  return [&answerer, options](const std::string& question) {
    std::vector<int32_t> tokens;
    for (const answer::PromptPart& part : answerer.ask(question, options).prompt) {
      OB_REQUIRE(!part.soft_tokens.defined() && !part.kv.defined(), Unsupported,
                 "adapters are trained on prompts of text; part {} holds slots", part.name);
      tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
    }
    return tokens;
  };
}

}  // namespace offbook::learn
