#include <algorithm>
#include <array>
#include <optional>

#include "src/compress/selective_context/phrases.h"

namespace offbook::compress {
namespace {

// All lists are sorted, for binary search.

// Begin a noun group.
constexpr std::array<std::string_view, 24> kDeterminers = {
    "a",    "all", "an",    "another", "any",  "each",    "every", "her",
    "his",  "its", "my",    "no",      "our",  "several", "some",  "such",
    "that", "the", "their", "these",   "this", "those",   "what",  "your"};

// Stand alone: pronouns, prepositions, conjunctions, auxiliaries, adverbs that are common.
constexpr std::array<std::string_view, 118> kFunctionWords = {
    "about", "above",    "according", "across", "after",   "again", "against", "ago",     "along",
    "also",  "although", "always",    "am",     "among",   "and",   "are",     "around",  "as",
    "at",    "be",       "because",   "been",   "before",  "being", "below",   "between", "but",
    "by",    "can",      "could",     "did",    "do",      "does",  "doing",   "down",    "during",
    "even",  "ever",     "far",       "for",    "from",    "had",   "has",     "have",    "having",
    "he",    "here",     "him",       "how",    "however", "i",     "if",      "in",      "into",
    "is",    "it",       "itself",    "just",   "may",     "me",    "might",   "more",    "most",
    "much",  "must",     "never",     "not",    "now",     "of",    "off",     "often",   "on",
    "once",  "only",     "or",        "out",    "over",    "per",   "she",     "should",  "since",
    "so",    "still",    "than",      "them",   "then",    "there", "they",    "though",  "through",
    "to",    "together", "too",       "toward", "under",   "until", "up",      "upon",    "us",
    "very",  "was",      "we",        "well",   "were",    "when",  "where",   "whether", "which",
    "while", "who",      "whom",      "whose",  "why",     "will",  "with",    "within",  "without",
    "would"};

// Stand alone: forms of common verbs that are seldom nouns.
constexpr std::array<std::string_view, 92> kVerbs = {
    "accepted", "added",    "agreed",   "announced", "appeared",  "asked",    "became",  "become",
    "becomes",  "began",    "begin",    "begins",    "believe",   "believed", "born",    "bought",
    "bring",    "brought",  "built",    "called",    "came",      "come",     "comes",   "consists",
    "contain",  "contains", "created",  "decided",   "described", "died",     "ended",   "expected",
    "felt",     "find",     "follow",   "followed",  "follows",   "found",    "gave",    "get",
    "gets",     "give",     "given",    "gives",     "go",        "goes",     "gone",    "got",
    "held",     "include",  "included", "includes",  "kept",      "knew",     "know",    "known",
    "led",      "left",     "lost",     "made",      "make",      "makes",    "meant",   "moved",
    "needs",    "provide",  "provided", "provides",  "published", "put",      "reached", "received",
    "remained", "said",     "saw",      "say",       "says",      "seen",     "sent",    "shows",
    "spent",    "take",     "taken",    "tell",      "think",     "thought",  "told",    "took",
    "used",     "wants",    "went",     "wrote"};

template <size_t n>
bool is_one_of(const std::array<std::string_view, n>& sorted, std::string_view word) {
  return std::binary_search(sorted.begin(), sorted.end(), word);
}

static_assert(std::is_sorted(kDeterminers.begin(), kDeterminers.end()));
static_assert(std::is_sorted(kFunctionWords.begin(), kFunctionWords.end()));
static_assert(std::is_sorted(kVerbs.begin(), kVerbs.end()));

enum class WordClass : uint8_t { determiner, alone, noun };

std::string ascii_lower(std::string_view word) {
  std::string out(word);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

WordClass classify(std::string_view word) {
  const std::string lower = ascii_lower(word);
  if (is_one_of(kDeterminers, lower)) {
    return WordClass::determiner;
  }
  const bool is_adverb = lower.size() > 4 && lower.ends_with("ly");
  const bool is_alone = is_adverb || is_one_of(kFunctionWords, lower) || is_one_of(kVerbs, lower);
  return is_alone ? WordClass::alone : WordClass::noun;
}

// Letters, digits, bytes of other scripts, and what joins words.
bool is_word_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '\'' ||
         c == '-' || static_cast<unsigned char>(c) >= 0x80;
}

// A word, or one punctuation mark.
ByteSpan next_piece(std::string_view text, size_t at) {
  size_t end = at + 1;
  if (is_word_byte(text[at])) {
    while (end < text.size() && is_word_byte(text[end])) {
      ++end;
    }
  }
  return {at, end};
}

}  // namespace

std::vector<ByteSpan> approximate_phrases(std::string_view text) {
  std::vector<ByteSpan> out;
  std::optional<ByteSpan> group;
  const auto close = [&] {
    if (group) {
      out.push_back(*group);
      group.reset();
    }
  };
  for (size_t at = 0; at < text.size();) {
    if (text[at] == ' ') {
      ++at;
      continue;
    }
    const ByteSpan piece = next_piece(text, at);
    at = piece.end;
    if (!is_word_byte(text[piece.begin])) {
      close();
      out.push_back(piece);
      continue;
    }
    const WordClass word = classify(text.substr(piece.begin, piece.end - piece.begin));
    if (word != WordClass::noun) {
      close();
    }
    if (word == WordClass::alone) {
      out.push_back(piece);
    } else if (group) {
      group->end = piece.end;
    } else {
      group = piece;
    }
  }
  close();
  return out;
}

}  // namespace offbook::compress
