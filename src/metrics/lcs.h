// Longest common subsequences of token ids.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace offbook::metrics {

// Length of a longest common subsequence. Bit-parallel (Hyyrö 2004), 64 columns at a time: time
// |a|·|b|/64, memory linear.
size_t lcs_length(std::span<const uint32_t> a, std::span<const uint32_t> b);

// Positions in `reference`, ascending, of one longest common subsequence: the one that rouge-score
// reads out of its table (on ties it gives up the last token of `reference` first). Which one is
// chosen matters to ROUGE-Lsum. Time |reference|·|candidate|, memory a bit a cell.
std::vector<uint32_t> lcs_positions(std::span<const uint32_t> reference,
                                    std::span<const uint32_t> candidate);

}  // namespace offbook::metrics
