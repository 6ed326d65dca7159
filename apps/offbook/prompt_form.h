// How a corpus is asked: what `learn` was told, so that `ask` builds the prompts that adapters were
// trained on.
#pragma once
#include <string>

#include <nlohmann/json.hpp>

#include "src/answer/answerer.h"

namespace offbook::app {

struct PromptForm {
  std::string slots = "auto";  // answer::slot_use_named
  bool has_examples = true;    // the two questions answered beforehand, and repeated sentences
  std::string instruction;     // in front of the question; empty: ask's own

  // Where the form differs from ask's own.
  void apply(answer::AskOptions& options) const;

  nlohmann::json to_json() const;
  static PromptForm from_json(const nlohmann::json& json);  // null: ask's own
};

}  // namespace offbook::app
