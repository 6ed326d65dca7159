#include "src/metrics/lcs.h"

#include <algorithm>
#include <bit>
#include <unordered_map>

namespace offbook::metrics {

size_t lcs_length(std::span<const uint32_t> a, std::span<const uint32_t> b) {
  std::unordered_map<uint32_t, uint32_t> dense;  // ids of `b`, from 1
  std::vector<uint32_t> ids_b;
  for (const uint32_t id : b) {
    ids_b.push_back(dense.emplace(id, static_cast<uint32_t>(dense.size() + 1)).first->second);
  }
  std::vector<uint32_t> ids_a;  // without what `b` lacks
  for (const uint32_t id : a) {
    if (const auto found = dense.find(id); found != dense.end()) {
      ids_a.push_back(found->second);
    }
  }
  // 64 columns of `b` at a time; a zero bit says that the LCS of the part of `a` read so far grows
  // at that column, carries[i] what row i hands on to the next 64.
  std::vector<uint64_t> places(dense.size() + 1, 0);
  std::vector<uint8_t> carries(ids_a.size(), 0);
  size_t length = 0;
  for (size_t first = 0; first < ids_b.size(); first += 64) {
    const size_t used = std::min<size_t>(64, ids_b.size() - first);
    for (size_t j = 0; j < used; ++j) {
      places[ids_b[first + j]] |= uint64_t{1} << j;
    }
    uint64_t row = ~uint64_t{0};
    for (size_t i = 0; i < ids_a.size(); ++i) {
      const uint64_t matched = row & places[ids_a[i]];
      uint64_t sum;
      const bool over_1 = __builtin_add_overflow(row, matched, &sum);
      const bool over_2 = __builtin_add_overflow(sum, uint64_t{carries[i]}, &sum);
      carries[i] = static_cast<uint8_t>(over_1 || over_2);
      row = sum | (row - matched);
    }
    const uint64_t mask = used == 64 ? ~uint64_t{0} : (uint64_t{1} << used) - 1;
    length += static_cast<size_t>(std::popcount(~row & mask));
    for (size_t j = 0; j < used; ++j) {
      places[ids_b[first + j]] = 0;
    }
  }
  return length;
}

std::vector<uint32_t> lcs_positions(std::span<const uint32_t> reference,
                                    std::span<const uint32_t> candidate) {
  const size_t rows = reference.size();
  const size_t columns = candidate.size();
  // Bit (i, j): the cell's left neighbour is larger than the one above.
  std::vector<bool> goes_left(rows * columns);
  std::vector<uint32_t> above(columns + 1);
  std::vector<uint32_t> row(columns + 1);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < columns; ++j) {
      const bool is_match = reference[i] == candidate[j];
      goes_left[i * columns + j] = row[j] > above[j + 1];
      row[j + 1] = is_match ? above[j] + 1 : std::max(above[j + 1], row[j]);
    }
    std::swap(above, row);
  }
  std::vector<uint32_t> positions;
  for (size_t i = rows, j = columns; i > 0 && j > 0;) {
    if (reference[i - 1] == candidate[j - 1]) {
      positions.push_back(static_cast<uint32_t>(i - 1));
      --i;
      --j;
    } else if (goes_left[(i - 1) * columns + (j - 1)]) {
      --j;
    } else {
      --i;
    }
  }
  std::reverse(positions.begin(), positions.end());
  return positions;
}

}  // namespace offbook::metrics
