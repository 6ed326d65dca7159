#include "src/text/word_cache.h"

#include <algorithm>
#include <cstring>

#include <xxhash.h>

namespace offbook::text {

WordCache::WordCache() : slots_(kSlots, Slot{}) {}

bool WordCache::find(std::string_view word, std::vector<int32_t>& out) const {
  const size_t at = XXH3_64bits(word.data(), word.size()) % kSlots;
  const Slot& slot = slots_[at];
  const std::lock_guard lock(locks_[at % kLocks]);
  if (slot.count == 0 || slot.length != word.size() ||
      std::memcmp(slot.word.data(), word.data(), word.size()) != 0) {
    return false;
  }
  out.insert(out.end(), slot.ids.begin(), slot.ids.begin() + slot.count);
  return true;
}

void WordCache::put(std::string_view word, const int32_t* ids, size_t count) {
  const size_t at = XXH3_64bits(word.data(), word.size()) % kSlots;
  Slot& slot = slots_[at];
  if (word.size() > slot.word.size() || count > slot.ids.size() || count == 0) {
    return;
  }
  const std::lock_guard lock(locks_[at % kLocks]);
  std::copy(word.begin(), word.end(), slot.word.begin());
  slot.length = static_cast<uint8_t>(word.size());
  std::copy(ids, ids + count, slot.ids.begin());
  slot.count = static_cast<uint32_t>(count);
}

}  // namespace offbook::text
