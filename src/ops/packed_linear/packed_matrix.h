// Quantised weights in the order in which a CPU's vectors take them. docs/formats/packed.md has
// every byte.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "src/backend/cpu/thread_pool.h"
#include "src/tensor/tensor.h"

namespace offbook::ops {

inline constexpr int64_t kPanelRows = 16;   // weight rows of a panel: lanes of an AVX-512 vector
inline constexpr int64_t kPanelGroup = 32;  // values of a row that share a scale

// How the values of a type are stored: scale · (q − offset) + minimum, or as bf16.
struct PanelForm {
  bool is_plain = false;  // bf16
  bool is_4bit = false;
  bool has_minimum = false;
  bool has_halves = false;  // a scale for each 16 values
  int32_t offset = 0;

  int64_t quant_bytes() const {
    return kPanelRows * kPanelGroup * (is_plain ? 4 : is_4bit ? 1 : 2) / 2;
  }
  int64_t scale_bytes() const { return is_plain ? 0 : kPanelRows * 2 * (has_halves ? 2 : 1); }
  int64_t minimum_bytes() const { return has_minimum ? kPanelRows * 2 : 0; }
  int64_t group_bytes() const { return quant_bytes() + scale_bytes() + minimum_bytes(); }
  int64_t panel_bytes(int64_t cols) const { return cols / kPanelGroup * group_bytes(); }
};

// Panels of one form.
struct PackedPart {
  Dtype dtype = Dtype::q4_1;  // they were made from
  PanelForm form;
  Tensor panels;  // u8 [panels, panel_bytes]
};

// A matrix [rows, cols], or several on top of each other.
struct PackedMatrix {
  std::vector<PackedPart> parts;
  int64_t rows = 0;
  int64_t cols = 0;

  bool defined() const { return rows > 0; }
  int64_t bytes() const;
};

// The form of a type; numbers that are not quantised become bf16.
PanelForm panel_form(Dtype dtype);

// Whether these weights can be packed into one matrix: float or quantised CPU tensors [rows, cols]
// of one width, a multiple of 32, with rows in multiples of 16.
bool is_packable(std::span<const Tensor> weights);

// One matrix of weights that stand on top of each other. Cost: reads and writes every byte once.
PackedMatrix pack_rows(backend::ThreadPool& pool, std::span<const Tensor> weights);
// 16 rows of a, 16 of b, and so on. Both must have one type and shape.
PackedMatrix pack_alternating(backend::ThreadPool& pool, const Tensor& a, const Tensor& b);

namespace avx2 {
// One panel from kPanelRows rows.
void pack_panel(Dtype dtype, const std::byte* const* rows, int64_t cols, std::byte* panel);
}  // namespace avx2
namespace avx512 {
void pack_panel(Dtype dtype, const std::byte* const* rows, int64_t cols, std::byte* panel);
}

}  // namespace offbook::ops
