#include "src/text/chat_formats.h"

#include <algorithm>

#include <xxhash.h>

#include "src/base/error.h"

namespace offbook::text {
namespace {

constexpr std::array<ChatStyle, 14> kStyles{{
    {.format = ChatFormat::chatml, .name = "chatml", .family = ChatFamily::chatml},
    {.format = ChatFormat::smollm2,
     .name = "smollm2",
     .family = ChatFamily::chatml,
     .default_system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    {.format = ChatFormat::qwen2,
     .name = "qwen2",
     .family = ChatFamily::chatml,
     .default_system = "You are a helpful assistant."},
    {.format = ChatFormat::qwen2_5,
     .name = "qwen2.5",
     .family = ChatFamily::chatml,
     .default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
    {.format = ChatFormat::qwen3,
     .name = "qwen3",
     .family = ChatFamily::chatml,
     .drops_thoughts = true},
    {.format = ChatFormat::llama2,
     .name = "llama2",
     .family = ChatFamily::inst,
     .system_open = "<<SYS>>\n",
     .system_close = "\n<</SYS>>\n\n",
     .user_open = "[INST] ",
     .user_close = " [/INST]",
     .assistant_open = " ",
     .assistant_close = " ",
     .strips = true,
     .repeats_bos = true},
    {.format = ChatFormat::llama3, .name = "llama3", .family = ChatFamily::llama3},
    {.format = ChatFormat::llama3_1,
     .name = "llama3.1",
     .family = ChatFamily::llama3,
     .shows_dates = true},
    {.format = ChatFormat::mistral_v0_1,
     .name = "mistral-v0.1",
     .family = ChatFamily::inst,
     .system_close = "\n\n",
     .user_open = "[INST] ",
     .user_close = " [/INST]",
     .after_eos = " "},
    {.format = ChatFormat::mistral_v0_2,
     .name = "mistral-v0.2",
     .family = ChatFamily::inst,
     .system_close = "\n\n",
     .user_open = "[INST] ",
     .user_close = " [/INST]"},
    {.format = ChatFormat::mistral_v0_2_system,
     .name = "mistral-v0.2-system",
     .family = ChatFamily::inst,
     .system_close = "\n\n",
     .user_open = " [INST] ",
     .user_close = " [/INST]",
     .assistant_open = " "},
    {.format = ChatFormat::mistral_v0_3,
     .name = "mistral-v0.3",
     .family = ChatFamily::inst,
     .system_place = SystemPlace::last_user,
     .system_close = "\n\n",
     .user_open = "[INST] ",
     .user_close = "[/INST]",
     .assistant_open = " "},
    {.format = ChatFormat::mistral_nemo,
     .name = "mistral-nemo",
     .family = ChatFamily::inst,
     .system_place = SystemPlace::last_user,
     .system_close = "\n\n",
     .user_open = "[INST]",
     .user_close = "[/INST]"},
    {.format = ChatFormat::mistral_v7,
     .name = "mistral-v7",
     .family = ChatFamily::inst,
     .system_place = SystemPlace::own,
     .system_open = "[SYSTEM_PROMPT]",
     .system_close = "[/SYSTEM_PROMPT]",
     .user_open = "[INST]",
     .user_close = "[/INST]"},
}};

// XXH3-128 of published templates, white space at both ends taken away.
struct KnownTemplate {
  uint64_t high, low;
  ChatFormat format;
};
constexpr std::array<KnownTemplate, 18> kTemplates{{
    {0x577a7fce73f72e1e, 0xe2be9fd6966bb5eb, ChatFormat::chatml},
    {0xf0a6a8278439fdb0, 0x56191e205a440263, ChatFormat::chatml},
    {0x4adb1f81f5c508ea, 0x24f6d97f87d647f5, ChatFormat::llama2},
    {0x09facc0e4aa94318, 0x9799ad6e2dea0594, ChatFormat::llama3},
    {0x8f20b9eda669ce10, 0xb97891b7adc1beb8, ChatFormat::llama3},
    {0x9ddcd6cd71f96dd7, 0x6ca7779b7730196a, ChatFormat::llama3_1},
    {0x573e1bcc8c56f178, 0xc3d57e38f5ff0756, ChatFormat::llama3_1},
    {0x2c0f75201f5fbcae, 0x6a6adf55847af499, ChatFormat::mistral_nemo},
    {0x70bf874ad98f31f4, 0xb7f52373b11c60d7, ChatFormat::mistral_v0_1},
    {0xf395fc5daa794129, 0xa5d004210ebce758, ChatFormat::mistral_v0_2},
    {0x6aef58edf0d62df9, 0xf89cfc57f651ff3d, ChatFormat::mistral_v0_2_system},
    {0xc7c5aba43d0f450f, 0x797fff16f26a5c01, ChatFormat::mistral_v0_3},
    {0x3210f443f276f16a, 0x02cdc546cb24cabe, ChatFormat::mistral_v7},
    {0xe580c2da83415028, 0xd5d943bd0bd9082f, ChatFormat::qwen2},
    {0x5fdb9fce4071098d, 0xef2b96adf9b87224, ChatFormat::qwen2_5},
    {0xe392aa06018503fd, 0x2469c9508f79506e, ChatFormat::qwen2_5},
    {0x4457e3d12b367a86, 0x0f283874ff58d644, ChatFormat::qwen3},
    {0x98f63cc3d421d28f, 0x99ab995e9629dacd, ChatFormat::smollm2},
}};

constexpr std::array<std::string_view, 13> kMarkup{
    "<|im_start|>",      "<|im_end|>", "<think>", "</think>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "[INST]",  "[/INST]",  "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",  "<<SYS>>",    "<</SYS>>"};

std::string known_names() {
  std::string names = "mistral, qwen";
  for (const ChatStyle& style : kStyles) {
    names += ", ";
    names += style.name;
  }
  return names;
}

}  // namespace

const ChatStyle& style_of(ChatFormat format) {
  const auto style = std::find_if(kStyles.begin(), kStyles.end(),
                                  [&](const ChatStyle& s) { return s.format == format; });
  OB_CHECK(style != kStyles.end());
  return *style;
}

std::span<const ChatStyle> chat_styles() {
  return kStyles;
}
std::span<const std::string_view> chat_markup() {
  return kMarkup;
}

ChatFormat chat_format_named(std::string_view name) {
  if (name == "mistral") {
    return ChatFormat::mistral_v0_3;
  }
  if (name == "qwen") {
    return ChatFormat::qwen2_5;
  }
  const auto style = std::find_if(kStyles.begin(), kStyles.end(),
                                  [&](const ChatStyle& s) { return s.name == name; });
  OB_REQUIRE(style != kStyles.end(), InvalidArgument, "chat template \"{}\" is not one of {}", name,
             known_names());
  return style->format;
}

ChatFormat chat_format_of_template(std::string_view jinja) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = std::min(jinja.find_first_not_of(kSpace), jinja.size());
  const size_t end = jinja.find_last_not_of(kSpace) + 1;
  const std::string_view body = jinja.substr(begin, end > begin ? end - begin : 0);
  const XXH128_hash_t hash = XXH3_128bits(body.data(), body.size());
  for (const KnownTemplate& known : kTemplates) {
    if (known.high == hash.high64 && known.low == hash.low64) {
      return known.format;
    }
  }
  OB_THROW(Unsupported,
           "the model's chat template ({} bytes, XXH3 {:016x}{:016x}) is not a known one; name the "
           "format with --chat-template chatml|llama2|llama3|mistral|qwen (all: {})",
           body.size(), hash.high64, hash.low64, known_names());
}

}  // namespace offbook::text
