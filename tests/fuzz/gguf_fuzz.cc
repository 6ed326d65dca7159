// GGUF files from outside: whatever the bytes, an Error or a model whose every part can be asked
// for.
#include "src/base/error.h"
#include "src/model/import/gguf.h"
#include "src/model/import/tokenizer_source.h"
#include "src/model/import/weights.h"

namespace {

using namespace offbook;
using model::GgufFile;

template <class Call>
void attempt(Call&& call) {
  try {
    call();
  } catch (const Error&) {
    // The expected end of a hostile file.
  }
}

// Touches every byte, so that the address sanitizer sees a view that leaves the file.
uint64_t sum(const Tensor& tensor) {
  uint64_t total = 0;
  for (int64_t i = 0; i < tensor.bytes(); ++i) {
    total += static_cast<uint64_t>(tensor.raw()[i]);
  }
  return total;
}

void ask_for_everything(const GgufFile& file) {
  for (const model::GgufEntry& entry : file.entries()) {
    attempt([&] { file.get_int(entry.key, INT64_MIN, INT64_MAX); });
    attempt([&] { file.get_float(entry.key); });
    attempt([&] { file.find_bool(entry.key); });
    attempt([&] { file.find_string(entry.key); });
    attempt([&] { file.find_strings(entry.key); });
    attempt([&] { file.find_floats(entry.key); });
    attempt([&] { file.find_ints(entry.key); });
  }
  uint64_t total = 0;
  for (const model::GgufTensorInfo& info : file.tensors()) {
    attempt([&] { total += sum(file.tensor(info.name)); });
  }
  volatile uint64_t sink = total;
  static_cast<void>(sink);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  attempt([&] {
    const auto file = GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz.gguf", nullptr);
    ask_for_everything(*file);
    attempt([&] {
      const auto config = model::model_config_of_gguf(*file);
      model::rope_frequencies(config);
      model::load_llama_weights(*file, config);
    });
    attempt([&] { text::make_gguf_tokenizer(model::tokenizer_source_of_gguf(*file).vocabulary); });
  });
  return 0;
}
