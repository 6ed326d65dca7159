#include "src/model/import/rope_order.h"

#include <cstring>

#include "src/base/error.h"

namespace offbook::model {
namespace {

enum class To { half_split, interleaved };

Tensor reorder(const Tensor& rows, int64_t heads, To order) {
  OB_REQUIRE(
      rows.rank() >= 1 && rows.is_contiguous() && heads > 0 && rows.dim(0) % (2 * heads) == 0,
      InvalidArgument, "rows of {} do not divide into {} heads of even size", to_string(rows),
      heads);
  Tensor out = Tensor::empty(rows.dtype(), rows.shape());
  const int64_t row_bytes = rows.bytes() / rows.dim(0);
  const int64_t half = rows.dim(0) / heads / 2;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t i = 0; i < 2 * half; ++i) {
      const int64_t split = head * 2 * half + i;
      const int64_t interleaved = head * 2 * half + i % half * 2 + i / half;
      const int64_t from = order == To::half_split ? interleaved : split;
      const int64_t to = order == To::half_split ? split : interleaved;
      std::memcpy(out.raw() + to * row_bytes, rows.raw() + from * row_bytes,
                  static_cast<size_t>(row_bytes));
    }
  }
  return out;
}

}  // namespace

Tensor half_split_rows(const Tensor& interleaved, int64_t heads) {
  return reorder(interleaved, heads, To::half_split);
}

Tensor interleaved_rows(const Tensor& half_split, int64_t heads) {
  return reorder(half_split, heads, To::interleaved);
}

}  // namespace offbook::model
