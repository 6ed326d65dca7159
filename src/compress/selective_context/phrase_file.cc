#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/compress/selective_context/phrases.h"
#include "src/text/unicode.h"

namespace offbook::compress {
namespace {

constexpr uint64_t kMaxLineBytes = uint64_t{64} << 20;

std::vector<ByteSpan> read_spans(const nlohmann::json& json, const std::string& where) {
  OB_REQUIRE(json.is_array(), Corrupt, "{}: \"phrases\" must be a list of [begin, end]", where);
  std::vector<ByteSpan> spans;
  uint64_t last = 0;
  for (const nlohmann::json& pair : json) {
    OB_REQUIRE(pair.is_array() && pair.size() == 2 && pair[0].is_number_unsigned() &&
                   pair[1].is_number_unsigned(),
               Corrupt, "{}: phrase {} must be [begin, end] in characters", where, spans.size());
    const ByteSpan span{pair[0].get<uint64_t>(), pair[1].get<uint64_t>()};
    OB_REQUIRE(span.begin >= last && span.end > span.begin, Corrupt,
               "{}: phrase {} is [{}, {}] after one that ends at {}", where, spans.size(),
               span.begin, span.end, last);
    last = span.end;
    spans.push_back(span);
  }
  return spans;
}

}  // namespace

PhraseFile PhraseFile::read(FileSystem& fs, const std::filesystem::path& path) {
  PhraseFile out;
  out.path_ = path.string();
  const auto file = fs.open(path);
  const std::string_view all(reinterpret_cast<const char*>(file->bytes().data()),
                             file->bytes().size());
  int number = 0;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    const std::string_view line = all.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) {
      continue;
    }
    const std::string where = fmt::format("{}:{}", out.path_, number);
    const nlohmann::json json = parse_json(std::as_bytes(std::span(line)), where, kMaxLineBytes);
    const JsonFields fields(json, where);
    const std::string id = fields.get_string("id");
    const nlohmann::json* phrases = fields.find("phrases");
    OB_REQUIRE(phrases != nullptr, Corrupt, "{}: no \"phrases\"", where);
    const bool is_new = out.spans_.emplace(id, read_spans(*phrases, where)).second;
    OB_REQUIRE(is_new, Corrupt, "{}: the id {} stands in the file twice", where, printable(id));
  }
  return out;
}

std::vector<ByteSpan> PhraseFile::phrases(const std::string& id, std::string_view text) const {
  const auto found = spans_.find(id);
  OB_REQUIRE(found != spans_.end(), NotFound, "{} has no phrases for the document {}", path_,
             printable(id));
  std::vector<uint64_t> starts;  // of every character
  for (size_t at = 0; at < text.size(); at += text::decode_utf8(text, at).length) {
    starts.push_back(at);
  }
  starts.push_back(text.size());
  std::vector<ByteSpan> out;
  for (const ByteSpan& span : found->second) {
    OB_REQUIRE(span.end < starts.size(), Corrupt, "{}: a phrase of {} ends at character {} of {}",
               path_, printable(id), span.end, starts.size() - 1);
    out.push_back({starts[span.begin], starts[span.end]});
  }
  return out;
}

std::vector<ByteSpan> to_collapsed(const CollapsedText& text, std::span<const ByteSpan> spans) {
  const auto at = [&](uint64_t source) {
    const auto found = std::lower_bound(text.source.begin(), text.source.end() - 1, source);
    return static_cast<uint64_t>(found - text.source.begin());
  };
  std::vector<ByteSpan> out;
  for (const ByteSpan& span : spans) {
    const ByteSpan mapped{at(span.begin), at(span.end)};
    if (mapped.begin < mapped.end) {
      out.push_back(mapped);
    }
  }
  return out;
}

}  // namespace offbook::compress
