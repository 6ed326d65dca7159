#include "src/text/merge.h"

#include <bit>

namespace offbook::text {
namespace {

constexpr uint64_t kFree = ~uint64_t{0};  // (-1, -1) is never a pair

uint64_t key_of(int32_t left, int32_t right) noexcept {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

MergeTable::MergeTable(size_t pairs)
    : slots_(std::bit_ceil(2 * pairs + 2), Slot{kFree, {}}),
      shift_(64 - std::countr_zero(slots_.size())) {}

size_t MergeTable::slot_of(uint64_t key) const noexcept {
  const size_t mask = slots_.size() - 1;
  size_t at = (key * 0x9E3779B97F4A7C15ull) >> shift_;
  while (slots_[at].key != key && slots_[at].key != kFree) {
    at = (at + 1) & mask;
  }
  return at;
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = key_of(left, right);
  slots_[slot_of(key)] = {key, merge};
}

Merge MergeTable::find(int32_t left, int32_t right) const noexcept {
  if (left < 0 || right < 0) {
    return {};
  }
  const Slot& slot = slots_[slot_of(key_of(left, right))];
  return slot.key == kFree ? Merge{} : slot.merge;
}

}  // namespace offbook::text
