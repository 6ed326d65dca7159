#include "src/evaluate/generators/words.h"

#include <unordered_set>

namespace offbook::evaluate {
namespace {

constexpr std::string_view kNouns[] = {
    "anchor",  "apple",      "arrow",   "badge",   "bakery",  "barrel",   "basket",   "beach",
    "bell",    "bench",      "bicycle", "blanket", "boat",    "book",     "bottle",   "branch",
    "bread",   "bridge",     "brush",   "bucket",  "button",  "cabin",    "camera",   "candle",
    "canyon",  "carpet",     "castle",  "cellar",  "chair",   "chapel",   "cherry",   "circle",
    "clock",   "cloud",      "coat",    "coin",    "compass", "corner",   "cotton",   "cradle",
    "curtain", "desert",     "diamond", "drawer",  "engine",  "fabric",   "falcon",   "feather",
    "fence",   "ferry",      "field",   "flute",   "forest",  "fountain", "garden",   "gate",
    "glacier", "glove",      "hammer",  "harbour", "hill",    "horse",    "island",   "jacket",
    "jewel",   "kettle",     "kitchen", "ladder",  "lamp",    "lantern",  "lemon",    "letter",
    "library", "lighthouse", "magnet",  "market",  "meadow",  "mirror",   "mountain", "museum",
    "needle",  "notebook",   "ocean",   "orchard", "palace",  "paper",    "pencil",   "piano",
    "pillow",  "planet",     "pocket",  "puzzle",  "rabbit",  "railway",  "ribbon",   "river",
    "roof",    "rope",       "saddle",  "sailor",  "school",  "shadow",   "signal",   "spoon",
    "station", "stone",      "sugar",   "summer",  "table",   "temple",   "ticket",   "tower",
    "tunnel",  "umbrella",   "valley",  "velvet",  "village", "violin",   "wagon",    "walnut",
    "window",  "winter",     "workshop"};

constexpr std::string_view kAdjectives[] = {
    "amber",   "ancient",  "autumn",  "bitter",  "blue",    "bold",     "brave",   "brief",
    "bright",  "broad",    "calm",    "careful", "central", "cheerful", "clear",   "clever",
    "cold",    "common",   "copper",  "crisp",   "curious", "damp",     "dark",    "deep",
    "distant", "dry",      "eager",   "early",   "eastern", "empty",    "faint",   "famous",
    "fierce",  "fine",     "firm",    "flat",    "fresh",   "gentle",   "gold",    "grand",
    "green",   "grey",     "happy",   "heavy",   "hollow",  "honest",   "humble",  "idle",
    "keen",    "kind",     "large",   "late",    "light",   "little",   "lively",  "lonely",
    "long",    "loud",     "lucky",   "mellow",  "mild",    "modern",   "narrow",  "neat",
    "noble",   "northern", "odd",     "old",     "orange",  "pale",     "patient", "plain",
    "polite",  "proud",    "quick",   "quiet",   "rapid",   "rare",     "red",     "rich",
    "rough",   "round",    "royal",   "rustic",  "salty",   "sharp",    "short",   "silent",
    "silver",  "simple",   "slow",    "small",   "smooth",  "soft",     "solid",   "southern",
    "steady",  "steep",    "strange", "strong",  "sweet",   "swift",    "tall",    "tender",
    "thick",   "thin",     "tiny",    "tired",   "warm",    "western",  "white",   "wide",
    "wild",    "wise",     "young"};

constexpr std::string_view kTrainingCities[] = {
    "Amsterdam", "Athens",     "Baltimore",  "Bangkok",  "Barcelona", "Berlin",
    "Bogota",    "Boston",     "Brussels",   "Budapest", "Cairo",     "Calgary",
    "Caracas",   "Casablanca", "Copenhagen", "Dallas",   "Delhi",     "Denver",
    "Dublin",    "Edinburgh",  "Florence",   "Geneva",   "Glasgow",   "Hamburg",
    "Hanoi",     "Havana",     "Helsinki",   "Houston",  "Istanbul",  "Jakarta"};

constexpr std::string_view kEvaluationCities[] = {
    "Kingston",  "Kyoto",     "Lagos",     "Lima",  "Lisbon",    "London",  "Lyon",     "Madrid",
    "Manila",    "Marseille", "Melbourne", "Milan", "Montreal",  "Nairobi", "Naples",   "Oslo",
    "Ottawa",    "Porto",     "Prague",    "Quito", "Reykjavik", "Riga",    "Santiago", "Seville",
    "Stockholm", "Sydney",    "Toronto",   "Tunis", "Valencia",  "Vienna"};

std::string made_up_word(Random& random) {
  constexpr std::string_view kConsonants = "bdfgklmnprstvz";
  constexpr std::string_view kVowels = "aeiou";
  std::string out;
  for (int syllable = 0; syllable < 4; ++syllable) {
    out += kConsonants[random.below(kConsonants.size())];
    out += kVowels[random.below(kVowels.size())];
  }
  return out;
}

}  // namespace

std::span<const std::string_view> nouns() {
  return kNouns;
}
std::span<const std::string_view> adjectives() {
  return kAdjectives;
}
std::span<const std::string_view> training_cities() {
  return kTrainingCities;
}
std::span<const std::string_view> evaluation_cities() {
  return kEvaluationCities;
}

std::string_view pick(Random& random, std::span<const std::string_view> words) {
  return words[random.below(words.size())];
}

std::string random_key(Random& random) {
  const std::string_view adjective = pick(random, kAdjectives);
  return std::string(adjective) + "-" + std::string(pick(random, kNouns));
}

std::vector<std::string> different_words(Random& random, int64_t n) {
  std::vector<std::string> out(std::begin(kNouns), std::end(kNouns));
  out.insert(out.end(), std::begin(kAdjectives), std::end(kAdjectives));
  std::unordered_set<std::string> known(out.begin(), out.end());
  for (size_t i = out.size(); i > 1; --i) {
    std::swap(out[i - 1], out[random.below(i)]);
  }
  while (static_cast<int64_t>(out.size()) < n) {
    std::string word = made_up_word(random);
    if (known.insert(word).second) {
      out.push_back(std::move(word));
    }
  }
  out.resize(static_cast<size_t>(n));
  return out;
}

}  // namespace offbook::evaluate
