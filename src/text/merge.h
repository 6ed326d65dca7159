// The heart of BPE: join neighbouring symbols, best pair first.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <queue>
#include <span>
#include <utility>
#include <vector>

namespace offbook::text {

// A stretch [begin, end) of a word that is one token so far; id -1 where the vocabulary has none.
struct Symbol {
  int32_t id = -1;
  uint32_t begin = 0;
  uint32_t end = 0;
};

// What two neighbours would become, and how soon (lowest rank first); id -1: they stay apart.
struct Merge {
  int32_t id = -1;
  uint32_t rank = UINT32_MAX;
};

// Pair of ids → Merge, by open addressing: one cache line a question in the usual case.
class MergeTable {
 public:
  explicit MergeTable(size_t pairs = 0);  // the most that will be inserted
  // The last entry of a pair counts.
  void insert(int32_t left, int32_t right, Merge merge);
  Merge find(int32_t left, int32_t right) const noexcept;

 private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  size_t slot_of(uint64_t key) const noexcept;

  std::vector<Slot> slots_;
  int shift_ = 64;
};

namespace internal {

// Up to this many symbols a scan over all pairs beats a heap (measured: the two meet near 40).
inline constexpr size_t kScannedSymbols = 32;

template <class Find>
void merge_by_scan(std::vector<Symbol>& symbols, Find& find) {
  std::array<Merge, kScannedSymbols> merges;
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) {
    merges[i] = find(symbols[i], symbols[i + 1]);
  }
  while (n > 1) {
    const auto best =
        std::min_element(merges.begin(), merges.begin() + (n - 1),
                         [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (best->id < 0) {
      break;
    }
    const auto i = static_cast<size_t>(best - merges.begin());
    symbols[i] = {best->id, symbols[i].begin, symbols[i + 1].end};
    std::copy(symbols.begin() + i + 2, symbols.begin() + n, symbols.begin() + i + 1);
    std::copy(merges.begin() + i + 1, merges.begin() + (n - 1), merges.begin() + i);
    --n;
    if (i + 1 < n) {
      merges[i] = find(symbols[i], symbols[i + 1]);
    }
    if (i > 0) {
      merges[i - 1] = find(symbols[i - 1], symbols[i]);
    }
  }
  symbols.resize(n);
}

// Heap entry: rank, then place, so that equal ranks go from left to right. `end` is where the right
// symbol ended when this was pushed: an entry whose symbols have grown since is stale.
struct Candidate {
  uint32_t rank, left, end;
  int32_t id;
  bool operator>(const Candidate& o) const {
    return rank != o.rank ? rank > o.rank : left > o.left;
  }
};

template <class Find>
void merge_by_heap(std::vector<Symbol>& symbols, Find& find) {
  const auto n = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> next(n), previous(n);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](uint32_t left, uint32_t right) {
    const Merge merge = find(symbols[left], symbols[right]);
    if (merge.id >= 0) {
      queue.push({merge.rank, left, symbols[right].end, merge.id});
    }
  };
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;  // wraps at 0 and is then never used
  }
  for (uint32_t i = 0; i + 1 < n; ++i) {
    offer(i, i + 1);
  }
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.left];
    const uint32_t right = next[top.left];
    if (left.begin == left.end || right >= n || symbols[right].end != top.end) {
      continue;
    }
    left = {top.id, left.begin, top.end};
    symbols[right].begin = symbols[right].end;  // empty: merged away
    next[top.left] = next[right];
    if (next[right] < n) {
      previous[next[right]] = top.left;
      offer(top.left, next[right]);
    }
    if (top.left > 0) {
      offer(previous[top.left], top.left);
    }
  }
  std::erase_if(symbols, [](const Symbol& s) { return s.begin == s.end; });
}

}  // namespace internal

// Joins neighbours in place until no pair can be joined: lowest rank first, leftmost among equals.
// `find(left, right)` → Merge. Needs non-empty symbols. O(n log n).
template <class Find>
void merge_symbols(std::vector<Symbol>& symbols, Find find) {
  if (symbols.size() <= internal::kScannedSymbols) {
    internal::merge_by_scan(symbols, find);
  } else {
    internal::merge_by_heap(symbols, find);
  }
}

}  // namespace offbook::text
