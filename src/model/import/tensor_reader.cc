#include "src/model/import/tensor_reader.h"

#include <algorithm>

#include "src/base/error.h"
#include "src/base/float16.h"

namespace offbook::model {

Tensor to_f32(const Tensor& tensor, const std::string& what) {
  Tensor out = Tensor::empty(Dtype::f32, tensor.shape());
  const auto widen = [&](const auto* from) {
    std::transform(from, from + tensor.numel(), out.data<float>(),
                   [](auto x) { return to_float(x); });
  };
  switch (tensor.dtype()) {
    case Dtype::f32:
      std::copy_n(tensor.data<float>(), tensor.numel(), out.data<float>());
      break;
    case Dtype::f16:
      widen(tensor.data<F16>());
      break;
    case Dtype::bf16:
      widen(tensor.data<Bf16>());
      break;
    default:
      OB_THROW(Unsupported, "{}: wanted f32, f16 or bf16, came {}", what, to_string(tensor));
  }
  return out;
}

Tensor TensorReader::checked(const std::string& name, const Shape& shape) const {
  Tensor tensor = fetch(name);
  OB_REQUIRE(tensor.shape() == shape, Corrupt,
             "{}: tensor {}: shape {}, the configuration wants {}", file, name,
             to_string(tensor.shape()), to_string(shape));
  OB_REQUIRE(is_float(tensor.dtype()) || is_quantised(tensor.dtype()), Unsupported,
             "{}: tensor {}: {} is no weight type", file, name, dtype_info(tensor.dtype()).name);
  return tensor;
}

Tensor TensorReader::matrix(const std::string& name, int64_t rows, int64_t columns) const {
  return checked(name, {rows, columns});
}

Tensor TensorReader::vector(const std::string& name, int64_t size) const {
  return to_f32(checked(name, {size}), fmt::format("{}: tensor {}", file, name));
}

}  // namespace offbook::model
