// Words that generated texts are made of.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/random.h"

namespace offbook::evaluate {

// Plain English nouns and adjectives; static storage.
std::span<const std::string_view> nouns();
std::span<const std::string_view> adjectives();

// Cities for needles. No city is in both lists: adapters may train on one and are judged on the
// other.
std::span<const std::string_view> training_cities();
std::span<const std::string_view> evaluation_cities();

std::string_view pick(Random& random, std::span<const std::string_view> words);

// "calm-harbour".
std::string random_key(Random& random);

// `n` different single words: our nouns and adjectives, and pronounceable ones without meaning when
// they run out.
std::vector<std::string> different_words(Random& random, int64_t n);

}  // namespace offbook::evaluate
