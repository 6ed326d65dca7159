// safetensors files from outside: whatever the bytes, an Error or tensors that lie inside the file.
#include "src/base/error.h"
#include "src/model/import/safetensors.h"

namespace {

using namespace offbook;

uint64_t sum(const Tensor& tensor) {
  uint64_t total = 0;
  for (int64_t i = 0; i < tensor.bytes(); ++i) {
    total += static_cast<uint64_t>(tensor.raw()[i]);
  }
  return total;
}

void read(std::span<const std::byte> bytes) {
  const auto file = model::SafetensorsFile::parse(bytes, "fuzz.safetensors", nullptr);
  uint64_t total = 0;
  for (const model::SafetensorsInfo& info : file->tensors()) {
    try {
      total += sum(file->tensor(info.name));
    } catch (const Error&) {
      // An element type that is not read.
    }
  }
  volatile uint64_t sink = total;
  static_cast<void>(sink);
}

// The header's length in front would stop nearly every change of the text; here it always fits, and
// so do the data that the text may claim.
std::vector<std::byte> with_length(std::span<const std::byte> text) {
  const uint64_t length = text.size();
  std::vector<std::byte> out(sizeof(length) + text.size() + 32);
  std::memcpy(out.data(), &length, sizeof(length));
  if (!text.empty()) {
    std::memcpy(out.data() + sizeof(length), text.data(), text.size());
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  for (const auto& input : {std::vector(bytes.begin(), bytes.end()), with_length(bytes)}) {
    try {
      read(input);
    } catch (const Error&) {
      // The expected end of a hostile file.
    }
  }
  return 0;
}
