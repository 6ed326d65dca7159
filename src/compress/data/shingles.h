// How much of a text stands in others, by shingles of 8 words: what keeps training text apart from
// what is measured on.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace offbook::compress {

inline constexpr int kShingleWords = 8;

// Hashes of all runs of 8 words, in order. Words are runs of letters and digits, ASCII in lower
// case; bytes outside ASCII count as letters.
std::vector<uint64_t> shingles(std::string_view text);

// Texts that nothing may overlap with.
class OverlapIndex {
 public:
  void add(std::string name, std::string_view text);
  // Once, before worst().
  void finish();

  struct Overlap {
    double share = 0;  // of the distinct shingles of the text asked about
    std::string name;  // of the one added text that holds most of them
  };
  // Cost: a binary search a shingle.
  Overlap worst(std::string_view text) const;
  size_t texts() const { return names_.size(); }

 private:
  std::vector<std::string> names_;
  std::vector<std::pair<uint64_t, uint32_t>> entries_;  // shingle, number of the text; sorted
};

}  // namespace offbook::compress
