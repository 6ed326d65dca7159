// A question with its answer before it is checked.
#pragma once
#include <string>
#include <string_view>

#include "src/records/context.h"

namespace offbook::ingest {

struct Candidate {
  std::string question;
  std::string answer;
  ByteSpan sentence;  // of the passage, that it was made from; empty where a model wrote it
  std::string rule;  // which rule made it, or chose the answer: "cloze", "who", …; for inspection
  Example::Source source = Example::Source::by_rule;
};

}  // namespace offbook::ingest
