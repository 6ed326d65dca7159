// Fetches the tensors of one model with shape and element type checked.
#pragma once
#include <functional>
#include <string>

#include "src/tensor/tensor.h"

namespace offbook::model {

// An f32 copy of an f32, f16 or bf16 tensor. Unsupported for other types, naming `what`.
Tensor to_f32(const Tensor& tensor, const std::string& what);

struct TensorReader {
  std::string file;                                 // for errors
  std::function<Tensor(const std::string&)> fetch;  // NotFound, Unsupported

  // A float or quantised matrix of exactly this shape; Corrupt otherwise.
  Tensor matrix(const std::string& name, int64_t rows, int64_t columns) const;
  // The same of rank 1, as an f32 copy.
  Tensor vector(const std::string& name, int64_t size) const;

 private:
  Tensor checked(const std::string& name, const Shape& shape) const;
};

}  // namespace offbook::model
