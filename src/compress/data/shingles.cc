#include "src/compress/data/shingles.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include <xxhash.h>

#include "src/base/error.h"

namespace offbook::compress {
namespace {

bool is_word_byte(unsigned char c) {
  return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

std::vector<uint64_t> shingles(std::string_view text) {
  std::vector<uint64_t> out;
  std::array<uint64_t, kShingleWords> last{};
  size_t words = 0;
  std::string word;
  for (size_t i = 0; i <= text.size(); ++i) {
    const auto c = static_cast<unsigned char>(i < text.size() ? text[i] : ' ');
    if (is_word_byte(c)) {
      word += static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
      continue;
    }
    if (word.empty()) {
      continue;
    }
    std::rotate(last.begin(), last.begin() + 1, last.end());
    last.back() = XXH3_64bits(word.data(), word.size());
    word.clear();
    if (++words >= kShingleWords) {
      out.push_back(XXH3_64bits(last.data(), sizeof last));
    }
  }
  return out;
}

void OverlapIndex::add(std::string name, std::string_view text) {
  const auto number = static_cast<uint32_t>(names_.size());
  names_.push_back(std::move(name));
  std::vector<uint64_t> found = shingles(text);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  for (const uint64_t s : found) {
    entries_.emplace_back(s, number);
  }
}

void OverlapIndex::finish() {
  std::sort(entries_.begin(), entries_.end());
}

OverlapIndex::Overlap OverlapIndex::worst(std::string_view text) const {
  std::vector<uint64_t> found = shingles(text);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  std::unordered_map<uint32_t, size_t> shared;
  for (const uint64_t s : found) {
    auto at = std::lower_bound(entries_.begin(), entries_.end(), std::pair{s, uint32_t{0}});
    for (; at != entries_.end() && at->first == s; ++at) {
      ++shared[at->second];
    }
  }
  Overlap out;
  for (const auto& [number, count] : shared) {
    const double share = static_cast<double>(count) / static_cast<double>(found.size());
    if (share > out.share || (share == out.share && names_[number] < out.name)) {
      out = {share, names_[number]};
    }
  }
  return out;
}

}  // namespace offbook::compress
