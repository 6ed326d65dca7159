#include "src/text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "src/text/unicode.h"

namespace offbook::text {
namespace {

bool is_word_character(char32_t code) {
  const std::string_view category = general_category(code);
  return category[0] == 'L' || category[0] == 'N' || category[0] == 'M' || category == "Pc";
}

// The character that ends at `end` (> 0) of well-formed text.
Utf8Char character_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) {
    --at;
  }
  return decode_utf8(text, at);
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  return (begin == 0 || !is_word_character(character_before(text, begin).code)) &&
         (end == text.size() || !is_word_character(decode_utf8(text, end).code));
}

size_t space_begin(std::string_view text, size_t begin, size_t lowest) {
  while (begin > lowest) {
    const Utf8Char c = character_before(text, begin);
    if (!is_white_space(c.code)) {
      break;
    }
    begin -= c.length;
  }
  return begin;
}

size_t space_end(std::string_view text, size_t end) {
  while (end < text.size()) {
    const Utf8Char c = decode_utf8(text, end);
    if (!is_white_space(c.code)) {
      break;
    }
    end += c.length;
  }
  return end;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& t) { return t.content.empty(); });
  token_of_node_.push_back(-1);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    uint64_t node = 0;
    for (const char c : tokens_[i].content) {
      const uint64_t key = node << 8 | static_cast<uint8_t>(c);
      const auto [child, is_new] =
          children_.try_emplace(key, static_cast<uint32_t>(token_of_node_.size()));
      if (is_new) {
        token_of_node_.push_back(-1);
      }
      node = child->second;
    }
    token_of_node_[node] = static_cast<int32_t>(i);
    starts_[static_cast<uint8_t>(tokens_[i].content[0])] = true;
  }
}

const AddedToken* AddedTokens::longest_at(std::string_view text, size_t at) const {
  const AddedToken* best = nullptr;
  uint64_t node = 0;
  for (; at < text.size(); ++at) {
    const auto child = children_.find(node << 8 | static_cast<uint8_t>(text[at]));
    if (child == children_.end()) {
      break;
    }
    node = child->second;
    if (token_of_node_[node] >= 0) {
      best = &tokens_[static_cast<size_t>(token_of_node_[node])];
    }
  }
  return best;
}

std::vector<Section> AddedTokens::split(std::string_view text, AddedKinds wanted) const {
  std::vector<Section> sections;
  size_t done = 0;
  size_t at = 0;
  while (at < text.size() && !tokens_.empty()) {
    const AddedToken* token =
        starts_[static_cast<uint8_t>(text[at])] ? longest_at(text, at) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + token->content.size();
    at = end;
    if (!(token->is_special ? wanted.special : wanted.plain) ||
        (token->is_single_word && !stands_alone(text, begin, end))) {
      continue;
    }
    begin = token->takes_left_space ? space_begin(text, begin, done) : begin;
    end = token->takes_right_space ? space_end(text, end) : end;
    if (done < begin) {
      sections.push_back({nullptr, done, begin});
    }
    sections.push_back({token, begin, end});
    at = done = end;
  }
  if (done < text.size()) {
    sections.push_back({nullptr, done, text.size()});
  }
  return sections;
}

}  // namespace offbook::text
