// tokenizer.json from outside: what can be read must also encode and decode.
#include <span>
#include <string>

#include "src/base/error.h"
#include "src/text/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace offbook;
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto tokenizer = text::read_tokenizer_json(bytes, "tokenizer.json");
    const std::string line("Ab 12's <s>\xe4\xb8\xad e\xcc\x81 \xff\n  x");
    const auto encoding = tokenizer->encode(line, {.parse_special = true});
    OB_CHECK(encoding.ids.size() == encoding.spans.size());
    for (const auto& span : encoding.spans) {
      OB_CHECK(span.begin <= span.end && span.end <= line.size());
    }
    text::decode(*tokenizer, encoding.ids);
  } catch (const Error&) {
    // The expected end of a hostile file.
  }
  return 0;
}
