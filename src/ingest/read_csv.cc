#include "src/base/error.h"
#include "src/ingest/csv.h"
#include "src/ingest/encoding.h"
#include "src/ingest/formats.h"
#include "src/ingest/text_builder.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

std::string record_text(const CsvRecord& names, const CsvRecord& values) {
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
  CsvRecord names, values;
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
