#include "src/text/sections.h"

#include "src/base/error.h"

namespace offbook::text {
namespace {

constexpr size_t kLongestText = size_t{1} << 31;  // symbols of a word hold 32-bit places

}  // namespace

Encoding encode_sections(std::string_view text, const EncodeOptions& options,
                         const SpecialIds& special, const AddedTokens& added,
                         const EncodeSection& encode_section) {
  OB_REQUIRE(text.size() < kLongestText, InvalidArgument,
             "tokenise: the text has {} bytes, the longest that works is {}", text.size(),
             kLongestText - 1);
  AlignedText repaired;
  const uint64_t source_bytes = text.size();
  if (find_invalid_utf8(text) != std::string_view::npos) {
    repaired = repair_utf8(text);
    text = repaired.text;
  }
  Encoding out;
  if (options.add_special && special.add_bos && special.bos) {
    out.ids.push_back(*special.bos);
    out.spans.push_back({0, 0});
  }
  const AddedKinds wanted{options.parse_special, options.parse_added};
  TokenSink sink(out, repaired.map);
  for (const Section& section : added.split(text, wanted)) {
    sink.open(section.begin);
    if (section.token != nullptr) {
      sink.add(section.token->id, 0, section.end - section.begin);
    } else {
      encode_section({text.substr(section.begin, section.end - section.begin),
                      section.begin == 0 && !options.is_continuation, wanted},
                     sink);
    }
  }
  if (options.add_special && special.add_eos && special.eos) {
    out.ids.push_back(*special.eos);
    out.spans.push_back({source_bytes, source_bytes});
  }
  return out;
}

}  // namespace offbook::text
