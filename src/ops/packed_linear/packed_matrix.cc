#include "src/ops/packed_linear/packed_matrix.h"

#include <algorithm>
#include <array>

#include "src/base/error.h"

namespace offbook::ops {
namespace {

// row_of(panel, i): the bytes of row i of a panel.
template <typename RowOf>
PackedPart pack(backend::ThreadPool& pool, Dtype dtype, int64_t rows, int64_t cols,
                const RowOf& row_of) {
  PackedPart part{.dtype = dtype, .form = panel_form(dtype)};
  const int64_t panels = rows / kPanelRows;
  part.panels = Tensor::empty(Dtype::u8, {panels, part.form.panel_bytes(cols)});
  pool.parallel_for(panels, 8, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      std::array<const std::byte*, kPanelRows> sources;
      for (size_t i = 0; i < sources.size(); ++i) {
        sources[i] = row_of(p, static_cast<int64_t>(i));
      }
      avx2::pack_panel(dtype, sources.data(), cols, part.panels.row_raw(p));
    }
  });
  return part;
}

}  // namespace

int64_t PackedMatrix::bytes() const {
  int64_t sum = 0;
  for (const PackedPart& part : parts) {
    sum += part.panels.bytes();
  }
  return sum;
}

PanelForm panel_form(Dtype dtype) {
  switch (dtype) {
    case Dtype::q4_0:
      return {.is_4bit = true, .offset = 8};
    case Dtype::q4_1:
    case Dtype::q4_k:
      return {.is_4bit = true, .has_minimum = true};
    case Dtype::q5_0:
      return {.offset = 16};
    case Dtype::q5_1:
    case Dtype::q5_k:
      return {.has_minimum = true};
    case Dtype::q6_k:
      return {.has_halves = true, .offset = 32};
    case Dtype::q8_0:
      return {.offset = 128};
    default:
      OB_CHECK(is_float(dtype));
      return {.is_plain = true};
  }
}

bool is_packable(std::span<const Tensor> weights) {
  return !weights.empty() && std::all_of(weights.begin(), weights.end(), [&](const Tensor& w) {
    return w.defined() && w.device() == Device::cpu && w.rank() == 2 &&
           (is_quantised(w.dtype()) || is_float(w.dtype())) && w.dim(1) == weights[0].dim(1) &&
           w.dim(1) % kPanelGroup == 0 && w.dim(0) > 0 && w.dim(0) % kPanelRows == 0;
  });
}

PackedMatrix pack_rows(backend::ThreadPool& pool, std::span<const Tensor> weights) {
  OB_CHECK(is_packable(weights));
  PackedMatrix out{.cols = weights[0].dim(1)};
  for (const Tensor& w : weights) {
    out.parts.push_back(pack(pool, w.dtype(), w.dim(0), out.cols, [&](int64_t panel, int64_t i) {
      return w.row_raw(panel * kPanelRows + i);
    }));
    out.rows += w.dim(0);
  }
  return out;
}

PackedMatrix pack_alternating(backend::ThreadPool& pool, const Tensor& a, const Tensor& b) {
  OB_CHECK(is_packable(std::array{a, b}) && a.dtype() == b.dtype() && a.dim(0) == b.dim(0));
  PackedMatrix out{.rows = 2 * a.dim(0), .cols = a.dim(1)};
  out.parts.push_back(pack(pool, a.dtype(), out.rows, out.cols, [&](int64_t panel, int64_t i) {
    return (panel % 2 == 0 ? a : b).row_raw(panel / 2 * kPanelRows + i);
  }));
  return out;
}

}  // namespace offbook::ops
