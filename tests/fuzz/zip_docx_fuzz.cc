// Input that begins like a zip archive is one; any other is word/document.xml and, behind a NUL
// byte, word/styles.xml.
#include "tests/fuzz/read_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace offbook::ingest;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("PK")) {
    fuzz_read("a.docx", input);
    return 0;
  }
  const size_t cut = std::min(input.find('\0'), input.size());
  fuzz_read("a.docx",
            stored_zip({{"word/document.xml", input.substr(0, cut)},
                        {"word/styles.xml", input.substr(std::min(cut + 1, input.size()))}}));
  return 0;
}
