// The numbers of the GGUF format: metadata value types and tensor element types.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "src/tensor/dtype.h"

namespace offbook::model {

inline constexpr uint32_t kGgufMagic = 0x46554747;  // "GGUF"
inline constexpr uint64_t kGgufDefaultAlignment = 32;
inline constexpr int kGgufMaxRank = 4;

// As written in files.
enum class GgufType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

// "u32", "string", …; "type 77" for a number the format does not know.
std::string gguf_type_name(GgufType type);
// Bytes of one value; 0 for strings and arrays; nothing for unknown numbers.
std::optional<uint64_t> gguf_type_bytes(GgufType type);

// Our element type for a tensor type number of the file; nothing for those we do not read.
std::optional<Dtype> dtype_of_ggml(uint32_t ggml_type);
// The number that stands for a dtype; throws Unsupported for i32, i64, u8, i8.
uint32_t ggml_of_dtype(Dtype dtype);
// "Q4_K", "IQ2_XS", …; "type 77" for a number we have never heard of.
std::string ggml_type_name(uint32_t ggml_type);

}  // namespace offbook::model
