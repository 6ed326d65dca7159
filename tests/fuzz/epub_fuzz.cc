// Input that begins like a zip archive is one; any other is the package file and, behind a NUL
// byte, the one chapter c.xhtml.
#include "tests/fuzz/read_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace offbook::ingest;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("PK")) {
    fuzz_read("a.epub", input);
    return 0;
  }
  const size_t cut = std::min(input.find('\0'), input.size());
  fuzz_read("a.epub", stored_zip({{"META-INF/container.xml",
                                   R"(<container><rootfile full-path="book.opf"/></container>)"},
                                  {"book.opf", input.substr(0, cut)},
                                  {"c.xhtml", input.substr(std::min(cut + 1, input.size()))}}));
  return 0;
}
