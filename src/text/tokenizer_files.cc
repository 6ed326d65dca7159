#include "src/text/tokenizer_files.h"

#include "src/base/error.h"
#include "src/text/sentence_piece.h"
#include "src/text/tokenizer_json.h"

namespace offbook::text {
namespace {

std::string_view chars_of(const ReadableFile& file) {
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

LoadedTokenizer load_tokenizer(FileSystem& fs, const std::filesystem::path& directory) {
  const auto json_path = directory / "tokenizer.json";
  const auto model_path = directory / "tokenizer.model";
  const auto config_path = directory / "tokenizer_config.json";
  const auto template_path = directory / "chat_template.jinja";
  TokenizerConfig config;
  if (fs.stat(config_path)) {
    config = read_tokenizer_config(fs.open(config_path)->bytes(), config_path.string());
  }
  LoadedTokenizer loaded{nullptr, config.chat_template};
  if (fs.stat(template_path)) {
    loaded.chat_template = chars_of(*fs.open(template_path));
  }
  if (fs.stat(json_path)) {
    loaded.tokenizer = read_tokenizer_json(fs.open(json_path)->bytes(), json_path.string(), config);
    return loaded;
  }
  OB_REQUIRE(fs.stat(model_path), NotFound,
             "{}: neither tokenizer.json nor tokenizer.model is there", directory.string());
  try {
    loaded.tokenizer = make_sentence_piece_tokenizer(
        chars_of(*fs.open(model_path)),
        {.add_bos = config.add_bos.value_or(true), .add_eos = config.add_eos.value_or(false)});
  } catch (Error& e) {
    e.add_context(model_path.string());
    throw;
  }
  return loaded;
}

}  // namespace offbook::text
