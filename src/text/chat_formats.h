// The table of chat formats, as data.
#pragma once
#include <array>
#include <span>
#include <string_view>

#include "src/text/chat_template.h"

namespace offbook::text {

enum class ChatFamily : uint8_t { chatml, llama3, inst };
enum class SystemPlace : uint8_t { first_user, last_user, own };

struct ChatStyle {
  ChatFormat format;
  std::string_view name;
  ChatFamily family;
  // ChatML
  std::string_view default_system = {};
  bool drops_thoughts = false;
  // inst: [INST] user [/INST] assistant eos
  SystemPlace system_place = SystemPlace::first_user;
  std::string_view system_open = {}, system_close = {};
  std::string_view user_open = {}, user_close = {};
  std::string_view assistant_open = {}, assistant_close = {};
  std::string_view after_eos = {};
  bool strips = false;       // white space round every message
  bool repeats_bos = false;  // before every user turn
  // llama3
  bool shows_dates = false;
};

const ChatStyle& style_of(ChatFormat format);
std::span<const ChatStyle> chat_styles();

// Spellings that are control tokens when they stand in a style's own text.
std::span<const std::string_view> chat_markup();

}  // namespace offbook::text
