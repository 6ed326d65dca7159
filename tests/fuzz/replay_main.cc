// Stands in for libFuzzer in ordinary builds: feeds every file of the given folders to the target,
// and every prefix of the small ones, so that the regression corpus is a test.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kSmallBytes = 2048;

size_t replay(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  const size_t shortest = bytes.size() <= kSmallBytes ? 0 : bytes.size();
  for (size_t n = shortest; n <= bytes.size(); ++n) {
    // A copy of exactly n bytes, so that the address sanitizer sees a read past the end.
    const std::vector<uint8_t> input(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    LLVMFuzzerTestOneInput(input.data(), n);
  }
  return bytes.size() + 1 - shortest;
}

}  // namespace

int main(int argc, char** argv) {
  size_t files = 0, inputs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      inputs += replay(entry.path());
      ++files;
    }
  }
  std::printf("%zu files, %zu inputs\n", files, inputs);
  return files > 0 ? 0 : 1;
}
