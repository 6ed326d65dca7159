// Strings as Python sees them. The packages that define our scores (rouge-score, sacrebleu, the
// SQuAD script, ∞Bench) are Python, and their lower(), split() and \b decide scores on text that is
// not plain ASCII; this header repeats those rules so that no score depends on the language it was
// computed in. Bytes that are not UTF-8 read as U+FFFD, as Python's errors="replace" does.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace offbook::metrics {

// str.lower(): full mapping, with İ → i̇ and the final sigma. Linear; ASCII without any table.
std::string python_lower(std::string_view text);

// str.upper(): full mapping, with ß → SS and the other characters that grow.
std::string python_upper(std::string_view text);

// str.isspace() of one character: more than ASCII, less than nothing else (U+200B is no space).
bool is_python_space(char32_t code) noexcept;

// \w of a str pattern: letters, numbers of any kind and '_'; not combining marks.
bool is_python_word(char32_t code) noexcept;

// Value of a decimal digit of any script, as int() and \d take them; -1 for other characters.
int python_digit(char32_t code) noexcept;

// str.split() without an argument. The views point into `text`.
std::vector<std::string_view> python_split(std::string_view text);

// str.strip() and str.rstrip() without an argument. The view points into `text`.
std::string_view python_strip(std::string_view text);
std::string_view python_rstrip(std::string_view text);

// The code points of the text, as list(str).
std::u32string code_points(std::string_view text);
std::string to_utf8(std::u32string_view text);

// The text with every ASCII character of `characters` replaced by a space.
std::string spaces_for(std::string_view characters, std::string_view text);

// string.punctuation.
bool is_ascii_punctuation(char c) noexcept;

}  // namespace offbook::metrics
