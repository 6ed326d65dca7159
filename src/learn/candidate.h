// A question with its answer before it is checked.
#pragma once
#include <string>
#include <string_view>

#include "src/records/context.h"

namespace offbook::learn {

struct Candidate {
  std::string question;
  std::string answer;
  std::string rule;  // which rule made it, or chose the answer: "cloze", "who", …; for inspection
  Example::Source source = Example::Source::by_rule;
};

}  // namespace offbook::learn
