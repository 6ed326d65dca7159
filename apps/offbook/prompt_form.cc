#include "apps/offbook/prompt_form.h"

namespace offbook::app {

using nlohmann::json;

void PromptForm::apply(answer::AskOptions& options) const {
  options.slots.use = answer::slot_use_named(slots);
  if (!has_examples) {
    options.wording.shots.clear();
    options.evidence_sentences = 0;
  }
  if (!instruction.empty()) {
    options.wording.instruction = instruction;
  }
}

json PromptForm::to_json() const {
  return {{"slots", slots}, {"has_examples", has_examples}, {"instruction", instruction}};
}

PromptForm PromptForm::from_json(const json& j) {
  PromptForm out;
  if (j.is_object()) {
    out.slots = j.value("slots", out.slots);
    out.has_examples = j.value("has_examples", out.has_examples);
    out.instruction = j.value("instruction", out.instruction);
  }
  return out;
}

}  // namespace offbook::app
