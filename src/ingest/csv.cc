#include "src/ingest/csv.h"

#include <array>

#include "src/base/error.h"

namespace offbook::ingest {

bool CsvParser::next(CsvRecord& record) {
  while (at_ < text_.size() && text_[at_] == '\n') {
    ++at_;
    ++line_;
  }
  if (at_ >= text_.size()) {
    return false;
  }
  record.clear();
  line_of_record_ = line_;
  do {
    record.push_back(at_ < text_.size() && text_[at_] == '"' ? quoted() : plain());
  } while (consume_delimiter());
  return true;
}

std::string CsvParser::plain() {
  const size_t begin = at_;
  while (at_ < text_.size() && text_[at_] != delimiter_ && text_[at_] != '\n') {
    ++at_;
  }
  return std::string(text_.substr(begin, at_ - begin));
}

std::string CsvParser::quoted() {
  const size_t opened = line_;
  std::string out;
  for (++at_;; ++at_) {
    OB_REQUIRE(at_ < text_.size(), Corrupt, "the quote opened on line {} is never closed", opened);
    if (text_[at_] == '"' && text_.substr(at_ + 1, 1) != "\"") {
      ++at_;
      return out += plain();  // what stands between the quote and the delimiter
    }
    at_ += text_[at_] == '"' ? 1 : 0;
    line_ += text_[at_] == '\n' ? 1 : 0;
    out += text_[at_];
  }
}

bool CsvParser::consume_delimiter() {
  if (at_ >= text_.size()) {
    return false;
  }
  const bool more = text_[at_] == delimiter_;
  line_ += more ? 0 : 1;
  ++at_;
  return more;
}

char guess_delimiter(std::string_view text) {
  std::array<size_t, 3> counts = {};
  constexpr std::string_view kCandidates = ",;\t";
  bool quoted = false;
  for (const char c : text.substr(0, 1 << 16)) {
    quoted ^= c == '"';
    if (c == '\n' && !quoted) {
      break;
    }
    const size_t i = kCandidates.find(c);
    if (!quoted && i != std::string_view::npos) {
      ++counts[i];
    }
  }
  size_t best = 0;
  for (size_t i = 1; i < counts.size(); ++i) {
    best = counts[i] > counts[best] ? i : best;
  }
  return kCandidates[best];
}

}  // namespace offbook::ingest
