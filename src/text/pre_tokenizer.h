// Cuts text into the words inside which byte-level BPE merges.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "src/records/document.h"

namespace offbook::text {

// Named for the model family that brought the rule.
enum class PreTokenizerKind : uint8_t {
  gpt2,    // contractions, letters, digits, the rest; one space stays with what follows
  llama3,  // digits by threes, contractions in any case, line ends together
  qwen2,   // as llama3, every digit alone
  smollm,  // as gpt2, every digit alone
};

// The kind of GGUF's `tokenizer.ggml.pre`, or of a regular expression in tokenizer.json (exact
// text). Empty for names and expressions that are not known.
std::optional<PreTokenizerKind> pre_tokenizer_of_gguf(std::string_view name);
std::optional<PreTokenizerKind> pre_tokenizer_of_regex(std::string_view regex);

// A compiled rule. Thread-safe: walks share only constant state.
class PreTokenizer {
 public:
  explicit PreTokenizer(PreTokenizerKind kind);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  // One walk over one text: words in order, covering it without gaps. Linear in the text; the
  // matcher's own work is limited, and reaching the limit is InvalidArgument. Not thread-safe;
  // `text` (well-formed UTF-8) and the pre-tokeniser must outlive it.
  class Walk {
   public:
    Walk(const PreTokenizer& rule, std::string_view text);
    ~Walk();
    Walk(const Walk&) = delete;
    Walk& operator=(const Walk&) = delete;
    std::optional<ByteSpan> next();

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace offbook::text
