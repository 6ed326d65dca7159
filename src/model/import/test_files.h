// Helpers of the import tests: parse bytes in memory, expect an error that names its culprit.
#pragma once
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/model/import/gguf.h"
#include "src/tensor/tensor.h"

namespace offbook::model {

// Exactly these bytes in a block of their own, so that a sanitizer sees the first one past the end.
inline std::shared_ptr<Storage> copy_bytes(std::span<const std::byte> bytes) {
  auto storage = Storage::allocate(bytes.size());
  if (!bytes.empty()) {
    std::memcpy(storage->data(), bytes.data(), bytes.size());
  }
  return storage;
}

inline std::shared_ptr<const GgufFile> parse_gguf(std::span<const std::byte> bytes) {
  auto owned = copy_bytes(bytes);
  return GgufFile::parse({owned->data(), owned->bytes()}, "test.gguf", owned);
}

// An f32 tensor whose element i is start + i.
inline Tensor counting_tensor(Shape shape, float start = 0) {
  Tensor out = Tensor::empty(Dtype::f32, shape);
  for (int64_t i = 0; i < out.numel(); ++i) {
    out.data<float>()[i] = start + static_cast<float>(i);
  }
  return out;
}

template <typename Call>
void expect_error(ErrorCode code, const std::string& part, Call&& call) {
  try {
    call();
    ADD_FAILURE() << "no error; wanted one with: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_THAT(e.what(), testing::HasSubstr(part));
  }
}

}  // namespace offbook::model
