// Sizes of a tensor's axes, at most five (a KV prefix is [layer, 2, n, kv_head, head_dim]).
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "src/base/error.h"

namespace offbook {

inline constexpr int kMaxRank = 5;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
    OB_REQUIRE(dims.size() <= kMaxRank, InvalidArgument, "a tensor has at most {} axes, not {}", kMaxRank,
               dims.size());
    for (int i = 0; i < rank_; ++i) {
      OB_REQUIRE(dims[i] >= 0, InvalidArgument, "axis {} has the negative size {}", i, dims[i]);
      dims_[i] = dims[i];
    }
  }

  int rank() const noexcept { return rank_; }
  // Negative axes count from the last.
  int64_t operator[](int axis) const noexcept { return dims_[axis < 0 ? axis + rank_ : axis]; }
  int64_t& operator[](int axis) noexcept { return dims_[axis < 0 ? axis + rank_ : axis]; }
  int64_t numel() const noexcept {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) {
      n *= dims_[i];
    }
    return n;
  }
  std::span<const int64_t> dims() const noexcept { return {dims_.data(), static_cast<size_t>(rank_)}; }
  bool operator==(const Shape& other) const noexcept {
    return rank_ == other.rank_ && dims_ == other.dims_;
  }

 private:
  int rank_ = 0;
  std::array<int64_t, kMaxRank> dims_{};
};

// "[2, 3]"
std::string to_string(const Shape& shape);

}  // namespace offbook
