#include "src/model/import/gguf_types.h"

#include "src/base/error.h"

namespace offbook::model {
namespace {

struct TensorType {
  uint32_t number;
  std::string_view name;
  std::optional<Dtype> dtype;
};

// ggml's numbering; the gaps are types that were removed from the format.
constexpr TensorType kTensorTypes[] = {
    {0, "F32", Dtype::f32},
    {1, "F16", Dtype::f16},
    {2, "Q4_0", Dtype::q4_0},
    {3, "Q4_1", Dtype::q4_1},
    {6, "Q5_0", Dtype::q5_0},
    {7, "Q5_1", Dtype::q5_1},
    {8, "Q8_0", Dtype::q8_0},
    {9, "Q8_1", std::nullopt},
    {10, "Q2_K", std::nullopt},
    {11, "Q3_K", std::nullopt},
    {12, "Q4_K", Dtype::q4_k},
    {13, "Q5_K", Dtype::q5_k},
    {14, "Q6_K", Dtype::q6_k},
    {15, "Q8_K", std::nullopt},
    {16, "IQ2_XXS", std::nullopt},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", {}},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", {}},
    {24, "I8", {}},
    {25, "I16", {}},
    {26, "I32", {}},
    {27, "I64", {}},
    {28, "F64", {}},
    {29, "IQ1_M", {}},
    {30, "BF16", Dtype::bf16},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", {}},
};

struct ValueType {
  std::string_view name;
  uint64_t bytes;
};

constexpr ValueType kValueTypes[] = {
    {"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8}};

}  // namespace

std::string gguf_type_name(GgufType type) {
  const auto number = static_cast<uint32_t>(type);
  return number < std::size(kValueTypes) ? std::string(kValueTypes[number].name)
                                         : fmt::format("type {}", number);
}

std::optional<uint64_t> gguf_type_bytes(GgufType type) {
  const auto number = static_cast<uint32_t>(type);
  if (number >= std::size(kValueTypes)) {
    return std::nullopt;
  }
  return kValueTypes[number].bytes;
}

std::optional<Dtype> dtype_of_ggml(uint32_t ggml_type) {
  for (const TensorType& type : kTensorTypes) {
    if (type.number == ggml_type) {
      return type.dtype;
    }
  }
  return std::nullopt;
}

uint32_t ggml_of_dtype(Dtype dtype) {
  for (const TensorType& type : kTensorTypes) {
    if (type.dtype == dtype) {
      return type.number;
    }
  }
  OB_THROW(Unsupported, "GGUF files cannot hold {} tensors here", dtype_info(dtype).name);
}

std::string ggml_type_name(uint32_t ggml_type) {
  for (const TensorType& type : kTensorTypes) {
    if (type.number == ggml_type) {
      return std::string(type.name);
    }
  }
  return fmt::format("type {}", ggml_type);
}

}  // namespace offbook::model
