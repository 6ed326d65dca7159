// CSV as people and spreadsheets write it (RFC 4180).
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace offbook::ingest {

using CsvRecord = std::vector<std::string>;

// Fields between delimiters; quoted fields may hold delimiters, line ends and "" for ". A quote
// inside an unquoted field is an ordinary character, as spreadsheets write it. The text (line ends
// '\n') must outlive the parser.
class CsvParser {
 public:
  CsvParser(std::string_view text, char delimiter) : text_(text), delimiter_(delimiter) {}

  // False at the end. Blank lines are no records. Corrupt, naming the line, for a quote that is
  // never closed.
  bool next(CsvRecord& record);

  size_t line_of_record() const { return line_of_record_; }  // from 1

 private:
  std::string plain();
  std::string quoted();
  bool consume_delimiter();

  std::string_view text_;
  char delimiter_;
  size_t at_ = 0;
  size_t line_ = 1;
  size_t line_of_record_ = 1;
};

// ',', ';' or tab, whichever the first record has most of.
char guess_delimiter(std::string_view text);

}  // namespace offbook::ingest
