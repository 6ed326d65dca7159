// Tokens that are found in the text as they stand, before the model's own cutting: control tokens
// and what users added.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace offbook::text {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool is_special = false;         // found only with EncodeOptions::parse_special
  bool is_normalized = false;      // looked for after normalisation instead of before
  bool takes_left_space = false;   // swallows white space before it
  bool takes_right_space = false;  // and behind it
  bool is_single_word = false;     // not inside a longer word
};

// A stretch of text: an added token, or (token == nullptr) what lies between two.
struct Section {
  const AddedToken* token = nullptr;
  size_t begin = 0;
  size_t end = 0;
};

// Which added tokens to find.
struct AddedKinds {
  bool special = false;
  bool plain = true;
};

// A set of added tokens. Of several at one place the longest is found, and the first place wins.
// Thread-safe after construction. Search costs O(text × longest token) at worst, in practice a look
// at every byte.
class AddedTokens {
 public:
  AddedTokens() = default;
  // Empty contents are left out.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  bool is_empty() const noexcept { return tokens_.empty(); }
  // Sections in order, covering the text; empty ones are left out. Tokens of a kind that is not
  // wanted stay in the text around them.
  std::vector<Section> split(std::string_view text, AddedKinds wanted) const;

 private:
  // The longest token that begins at `at`, or nullptr.
  const AddedToken* longest_at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::array<bool, 256> starts_{};                   // first bytes, to skip most of the text
  std::unordered_map<uint64_t, uint32_t> children_;  // trie: node << 8 | byte → node; 0 is the root
  std::vector<int32_t> token_of_node_;               // index into tokens_, or -1
};

}  // namespace offbook::text
