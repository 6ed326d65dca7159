// config.json of decoders and encoders from outside.
#include "src/base/error.h"
#include "src/model/import/encoder_config.h"
#include "src/model/import/model_config.h"

namespace {

using namespace offbook;

template <class Call>
void attempt(Call&& call) {
  try {
    call();
  } catch (const Error&) {
    // The expected end of a hostile file.
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  attempt([&] {
    const auto json = parse_json(std::as_bytes(std::span(data, size)), "config.json", 1 << 20);
    const JsonFields fields(json, "config.json");
    attempt([&] { model::rope_frequencies(model::model_config_of_json(fields)); });
    attempt([&] { model::encoder_config_of_json(fields); });
  });
  return 0;
}
