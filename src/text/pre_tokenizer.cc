#include "src/text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <array>
#include <string>

#include <pcre2.h>

#include "src/base/error.h"

namespace offbook::text {
namespace {

// The first expression of a row is what we run: it matches what the model family's own expression
// (the second, as tokenizer.json spells it) matches, written for PCRE2.
struct Rule {
  PreTokenizerKind kind;
  const char* pattern;
  std::string_view published;
};

constexpr std::array<Rule, 4> kRules{{
    {PreTokenizerKind::gpt2,
     R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {PreTokenizerKind::llama3,
     R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {PreTokenizerKind::qwen2,
     R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    // Digits are cut out first, so a run of white space also ends before a digit.
    {PreTokenizerKind::smollm,
     R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+)", ""},
}};

const Rule& rule_of(PreTokenizerKind kind) {
  for (const Rule& rule : kRules) {
    if (rule.kind == kind) {
      return rule;
    }
  }
  OB_CHECK(!"every kind has a rule");
  return kRules[0];
}

// Far above what a word of ordinary text needs; a run of a million spaces stays below it.
constexpr uint32_t kMatchLimit = 100'000'000;

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* handle) const {
    Free(handle);
  }
};
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct PreTokenizer::Compiled {
  Code code;
  MatchContext context;
};

struct PreTokenizer::Walk::State {
  const Compiled& rule;
  std::string_view text;
  MatchData data;
  size_t at = 0;
  std::optional<ByteSpan> waiting;  // a word found behind a gap
};

std::optional<PreTokenizerKind> pre_tokenizer_of_gguf(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, PreTokenizerKind>, 8> kNames{{
      {"gpt-2", PreTokenizerKind::gpt2},
      {"gpt2", PreTokenizerKind::gpt2},
      {"llama-bpe", PreTokenizerKind::llama3},
      {"llama3", PreTokenizerKind::llama3},
      {"llama-v3", PreTokenizerKind::llama3},
      {"qwen2", PreTokenizerKind::qwen2},
      {"deepseek-r1-qwen", PreTokenizerKind::qwen2},
      {"smollm", PreTokenizerKind::smollm},
  }};
  for (const auto& [known, kind] : kNames) {
    if (known == name) {
      return kind;
    }
  }
  return std::nullopt;
}

std::optional<PreTokenizerKind> pre_tokenizer_of_regex(std::string_view regex) {
  for (const Rule& rule : kRules) {
    if (!rule.published.empty() && (regex == rule.published || regex == rule.pattern)) {
      return rule.kind;
    }
  }
  return std::nullopt;
}

PreTokenizer::PreTokenizer(PreTokenizerKind kind) : compiled_(std::make_unique<Compiled>()) {
  const char* pattern = rule_of(kind).pattern;
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                      PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &offset,
                                      nullptr));
  OB_CHECK(compiled_->code != nullptr);  // the expressions are ours
  // Without a JIT (a hardened kernel may forbid one) the same matches come from the interpreter.
  pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);
  compiled_->context.reset(pcre2_match_context_create(nullptr));
  OB_REQUIRE(compiled_->context != nullptr, OutOfMemory, "pre-tokeniser: no memory to match with");
  pcre2_set_match_limit(compiled_->context.get(), kMatchLimit);
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

PreTokenizer::Walk::Walk(const PreTokenizer& rule, std::string_view text)
    : state_(new State{
          *rule.compiled_, text,
          MatchData(pcre2_match_data_create_from_pattern(rule.compiled_->code.get(), nullptr))}) {
  OB_REQUIRE(state_->data != nullptr, OutOfMemory, "pre-tokeniser: no memory to match with");
}

PreTokenizer::Walk::~Walk() = default;

std::optional<ByteSpan> PreTokenizer::Walk::next() {
  State& s = *state_;
  if (s.waiting) {
    return std::exchange(s.waiting, std::nullopt);
  }
  if (s.at >= s.text.size()) {
    return std::nullopt;
  }
  const int found =
      pcre2_match(s.rule.code.get(), reinterpret_cast<PCRE2_SPTR>(s.text.data()), s.text.size(),
                  s.at, PCRE2_NO_UTF_CHECK, s.data.get(), s.rule.context.get());
  if (found == PCRE2_ERROR_NOMATCH) {
    return ByteSpan{std::exchange(s.at, s.text.size()), s.text.size()};
  }
  OB_REQUIRE(found > 0, InvalidArgument, "pre-tokeniser: at byte {} of {}: {}", s.at, s.text.size(),
             pcre2_message(found));
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(s.data.get());
  const ByteSpan word{bounds[0], bounds[1]};
  const size_t gap = std::exchange(s.at, word.end);
  if (word.begin > gap) {
    s.waiting = word;
    return ByteSpan{gap, word.begin};
  }
  return word;
}

}  // namespace offbook::text
