#include "src/learn/ask_prompts.h"

namespace offbook::learn {

PromptMaker ask_prompts(answer::Answerer& answerer, answer::AskOptions options) {
  options.prompt_only = true;
  options.on_evidence = nullptr;
  return [&answerer, options](const std::string& question) {
    return answerer.ask(question, options).prompt;
  };
}

}  // namespace offbook::learn
