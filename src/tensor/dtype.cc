#include "src/tensor/dtype.h"

#include "src/base/error.h"

namespace offbook {

const DtypeInfo& dtype_info(Dtype dtype) {
  static constexpr DtypeInfo kPlain[] = {{"f32", 1, 4}, {"f16", 1, 2}, {"bf16", 1, 2}, {"i32", 1, 4},
                                         {"i64", 1, 8}, {"u8", 1, 1},  {"i8", 1, 1}};
  static constexpr DtypeInfo kQuantised[] = {{"q8_0", 32, 34},   {"q4_0", 32, 18},   {"q4_1", 32, 20},
                                             {"q5_0", 32, 22},   {"q5_1", 32, 24},   {"q4_k", 256, 144},
                                             {"q5_k", 256, 176}, {"q6_k", 256, 210}};
  const auto number = static_cast<unsigned>(dtype);
  if (number < std::size(kPlain)) {
    return kPlain[number];
  }
  OB_REQUIRE(number >= 16 && number - 16 < std::size(kQuantised), Corrupt, "no element type has the number {}",
             number);
  return kQuantised[number - 16];
}

int64_t dtype_bytes(Dtype dtype, int64_t elems) {
  const DtypeInfo& info = dtype_info(dtype);
  OB_REQUIRE(elems % info.block_elems == 0, InvalidArgument, "{} values do not fill whole {} blocks of {}", elems,
             info.name, info.block_elems);
  return elems / info.block_elems * info.block_bytes;
}

}  // namespace offbook
