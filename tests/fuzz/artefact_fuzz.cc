// Artefact files from outside: whatever the bytes, an Error or an artefact that encodes again.
#include <cstring>

#include "src/base/error.h"
#include "src/store/context_artefact.h"
#include "src/store/hash.h"

namespace {

using namespace offbook;

class Input final : public ReadableFile {
 public:
  explicit Input(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  std::span<const std::byte> bytes() const noexcept override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Without a right checksum the fuzzer would never get behind it.
std::vector<std::byte> sealed(std::span<const std::byte> input) {
  constexpr size_t kAt = 48;
  std::vector<std::byte> file(input.begin(), input.end());
  if (file.size() >= 64) {
    std::memset(file.data() + kAt, 0, 16);
    const store::Digest digest = store::Hasher().add(file).digest();
    std::memcpy(file.data() + kAt, digest.data(), digest.size());
  }
  return file;
}

void read(std::vector<std::byte> bytes) {
  try {
    const store::Artefact artefact =
        store::decode_artefact(std::make_shared<Input>(std::move(bytes)), "fuzz");
    if (artefact.kind == store::ArtefactKind::context) {
      store::to_context(artefact, 0);
    } else if (artefact.kind == store::ArtefactKind::vectors) {
      store::to_vectors(artefact);
    }
    store::encode_artefact(artefact);
  } catch (const Error&) {
    // The expected end of a damaged file.
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  read({input.begin(), input.end()});
  read(sealed(input));
  return 0;
}
