#include <nlohmann/json.hpp>

#include "src/base/error.h"
#include "src/ingest/encoding.h"
#include "src/ingest/formats.h"
#include "src/ingest/text_builder.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

using nlohmann::json;

// Depth of brackets in a line, outside strings.
int nesting_of(std::string_view line) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_string) {
      i += c == '\\' ? 1 : 0;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

// A field as text: a string as it is, a list's strings in paragraphs, anything else as JSON.
std::string field_text(const json& value) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (value.is_null()) {
    return {};
  }
  if (value.is_array()) {
    std::string out;
    for (const json& element : value) {
      const std::string text = element.is_string()
                                   ? element.get<std::string>()
                                   : element.dump(-1, ' ', false, json::error_handler_t::replace);
      out += (out.empty() ? "" : "\n\n") + text;
    }
    return out;
  }
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string join_fields(const json& record, const std::vector<std::string>& fields) {
  std::string out;
  for (const std::string& field : fields) {
    if (const auto it = record.find(field); it != record.end()) {
      const std::string text = field_text(*it);
      out += (out.empty() || text.empty() ? "" : "\n\n") + text;
    }
  }
  return out;
}

std::string title_of(const json& record, const std::vector<std::string>& fields) {
  for (const std::string& field : fields) {
    const auto it = record.find(field);
    if (it != record.end() && it->is_string()) {
      return it->get<std::string>();
    }
  }
  return {};
}

// JSON escapes can hold what a text file may not: line ends become '\n', control characters spaces.
std::string tidy(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\r') {
      out += '\n';
      i += i + 1 < text.size() && text[i + 1] == '\n' ? 1 : 0;
    } else {
      const bool is_control = static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t';
      out += is_control ? ' ' : c;
    }
  }
  return out;
}

std::string names_of(const json& record) {
  std::string out;
  for (const auto& [key, _] : record.items()) {
    out += (out.empty() ? "" : ", ") + shorten(key, 40);
  }
  return shorten(out, 200);
}

// One line into the builder; the reason where that cannot be.
std::string append_record(std::string_view line, size_t number, const ReadOptions& options,
                          TextBuilder& builder) {
  if (nesting_of(line) > options.limits.max_nesting) {
    return fmt::format("is nested more than {} deep, the limit", options.limits.max_nesting);
  }
  const json record = json::parse(line, nullptr, false);
  if (record.is_discarded()) {
    return "is not JSON";
  }
  if (!record.is_object()) {
    return fmt::format("is a JSON {}, not an object", record.type_name());
  }
  const std::string text = join_fields(record, options.jsonl_text_fields);
  if (is_blank_text(text)) {
    return fmt::format("has no text in {} (its fields: {})",
                       fmt::join(options.jsonl_text_fields, ", "), names_of(record));
  }
  const std::string title = title_of(record, options.jsonl_title_fields);
  builder.record(is_blank_text(title) ? fmt::format("#{}", number)
                                      : fmt::format("#{} {}", number, title));
  builder.paragraph(tidy(text));
  return {};
}

}  // namespace

ReadResult read_jsonl(const Source& source, const ReadOptions& options) {
  DecodedText decoded = decode_text(source.bytes);
  ReadResult result{.warnings = std::move(decoded.warnings)};
  TextBuilder builder(options.limits.max_text_bytes);
  std::string_view rest = decoded.text;
  size_t number = 0, left_out = 0;
  std::string first_reason;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    ++number;
    if (is_blank_text(line)) {
      continue;
    }
    const std::string reason = append_record(line, number, options, builder);
    if (!reason.empty() && left_out++ == 0) {
      first_reason = fmt::format("line {} {}", number, reason);
    }
  }
  OB_REQUIRE(!builder.empty() || left_out == 0, Unsupported, "no line is a record to read: {}",
             first_reason);
  if (left_out > 0) {
    result.warnings.push_back(
        fmt::format("{} lines left out: {}{}", left_out, first_reason, left_out > 1 ? ", …" : ""));
  }
  builder.finish(result.document);
  return result;
}

}  // namespace offbook::ingest
