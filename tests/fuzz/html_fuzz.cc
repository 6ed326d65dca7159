#include "tests/fuzz/read_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  offbook::ingest::fuzz_read("a.html", {reinterpret_cast<const char*>(data), size});
  return 0;
}
