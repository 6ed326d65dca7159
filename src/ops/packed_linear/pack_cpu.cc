#include <vector>

#include "src/base/float16.h"
#include "src/ops/dequantize/decode.h"
#include "src/ops/packed_linear/packed_matrix.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/dequantize/codec_cpu.h"

namespace offbook::ops::OB_ISA {
namespace {

void store_half(float value, std::byte* to) {
  const F16 half = to_f16(value);
  std::memcpy(to, &half, 2);
}

// One group of one row: four values of each step lie together, 64 bytes before those of the next.
void place(const Group& group, const PanelForm& form, int64_t row, std::byte* to) {
  alignas(32) uint8_t q[kPanelGroup];
  _mm256_store_si256(reinterpret_cast<__m256i*>(q), group.q);
  std::byte* at = to + row * 4;
  if (form.is_4bit) {
    for (int64_t step = 0; step < 4; ++step) {
      for (int64_t i = 0; i < 4; ++i) {
        at[step * 64 + i] = static_cast<std::byte>(q[step * 4 + i] | q[16 + step * 4 + i] << 4);
      }
    }
  } else {
    for (int64_t step = 0; step < 8; ++step) {
      std::memcpy(at + step * 64, q + step * 4, 4);
    }
  }
  std::byte* scales = to + form.quant_bytes();
  store_half(group.scale[0], scales + row * 2);
  if (form.has_halves) {
    store_half(group.scale[1], scales + (kPanelRows + row) * 2);
  }
  if (form.has_minimum) {
    store_half(group.minimum, scales + form.scale_bytes() + row * 2);
  }
}

// Pairs of neighbours as bf16, those of the 16 rows side by side.
void pack_plain(Dtype dtype, const std::byte* const* rows, int64_t cols, std::byte* panel) {
  std::vector<Bf16> values(static_cast<size_t>(cols));
  for (int64_t row = 0; row < kPanelRows; ++row) {
    decode(dtype, rows[row], cols, values.data());
    for (int64_t col = 0; col < cols; col += 2) {
      std::memcpy(panel + (col / 2 * kPanelRows + row) * 4, &values[static_cast<size_t>(col)], 4);
    }
  }
}

}  // namespace

void pack_panel(Dtype dtype, const std::byte* const* rows, int64_t cols, std::byte* panel) {
  const PanelForm form = panel_form(dtype);
  if (form.is_plain) {
    return pack_plain(dtype, rows, cols, panel);
  }
  with_codec(dtype, [&](auto codec) {
    using C = decltype(codec);
    for (int64_t row = 0; row < kPanelRows; ++row) {
      const auto* block = reinterpret_cast<const uint8_t*>(rows[row]);
      std::byte* to = panel;
      for (int64_t col = 0; col < cols; col += C::kGroups * kPanelGroup, block += C::kBytes) {
        for (int i = 0; i < C::kGroups; ++i, to += form.group_bytes()) {
          place(C::group(block, i), form, row, to);
        }
      }
    }
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
