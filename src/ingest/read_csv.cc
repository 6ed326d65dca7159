#include <array>

#include "src/base/error.h"
#include "src/ingest/encoding.h"
#include "src/ingest/formats.h"
#include "src/ingest/text_builder.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

using Record = std::vector<std::string>;

// RFC 4180: fields between delimiters, quoted fields may hold delimiters, line ends and "" for ".
// A quote inside an unquoted field is an ordinary character, as spreadsheets write it.
class CsvParser {
 public:
  CsvParser(std::string_view text, char delimiter) : text_(text), delimiter_(delimiter) {}

  // False at the end. Blank lines are no records. Corrupt for a quote that is never closed.
  bool next(Record& record) {
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

  size_t line_of_record() const { return line_of_record_; }

 private:
  std::string plain() {
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != delimiter_ && text_[at_] != '\n') {
      ++at_;
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::string quoted() {
    const size_t opened = line_;
    std::string out;
    for (++at_;; ++at_) {
      OB_REQUIRE(at_ < text_.size(), Corrupt, "the quote opened on line {} is never closed",
                 opened);
      if (text_[at_] == '"' && text_.substr(at_ + 1, 1) != "\"") {
        ++at_;
        return out += plain();  // what stands between the quote and the delimiter
      }
      at_ += text_[at_] == '"' ? 1 : 0;
      line_ += text_[at_] == '\n' ? 1 : 0;
      out += text_[at_];
    }
  }

  bool consume_delimiter() {
    if (at_ >= text_.size()) {
      return false;
    }
    const bool more = text_[at_] == delimiter_;
    line_ += more ? 0 : 1;
    ++at_;
    return more;
  }

  std::string_view text_;
  char delimiter_;
  size_t at_ = 0;
  size_t line_ = 1;
  size_t line_of_record_ = 1;
};

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

std::string record_text(const Record& names, const Record& values) {
  std::string out;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string_view value = trim(values[i]);
    if (is_blank_text(value)) {
      continue;
    }
    const std::string_view name = i < names.size() ? trim(names[i]) : std::string_view();
    out += out.empty() ? "" : "\n";
    out += name.empty() ? fmt::format("column {}: ", i + 1) : fmt::format("{}: ", name);
    out += value;
  }
  return out;
}

}  // namespace

ReadResult read_csv(const Source& source, const ReadOptions& options) {
  DecodedText decoded = decode_text(source.bytes);
  ReadResult result{.warnings = std::move(decoded.warnings)};
  TextBuilder builder(options.limits.max_text_bytes);
  CsvParser parser(decoded.text, guess_delimiter(decoded.text));
  Record names, values;
  parser.next(names);
  size_t uneven = 0, first_uneven = 0;
  for (size_t number = 1; parser.next(values); ++number) {
    if (values.size() != names.size() && uneven++ == 0) {
      first_uneven = parser.line_of_record();
    }
    builder.record(fmt::format("#{}", number));
    builder.paragraph(record_text(names, values));
  }
  if (uneven > 0) {
    result.warnings.push_back(
        fmt::format("{} records do not have the {} fields of the first line (the first at line {})",
                    uneven, names.size(), first_uneven));
  }
  builder.finish(result.document);
  return result;
}

}  // namespace offbook::ingest
