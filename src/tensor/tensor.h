// A tensor: element type, shape, strides and a place in shared storage. Holds no arithmetic.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "src/tensor/dtype.h"
#include "src/tensor/shape.h"

namespace offbook {

enum class Device : uint8_t { cpu, cuda };

// Owns bytes on one device, or keeps alive whoever does (a mapped file, an arena block).
// Aligned to 64 bytes when made by allocate(). Zero-initialised only when asked.
class Storage {
 public:
  // Bytes on the CPU. Throws OutOfMemory with the size.
  static std::shared_ptr<Storage> allocate(size_t bytes);
  // Bytes that `keep_alive` owns; read-only data is never written through a tensor.
  static std::shared_ptr<Storage> borrow(const std::byte* data, size_t bytes, std::shared_ptr<const void> keep_alive,
                                         Device device = Device::cpu);

  std::byte* data() const noexcept { return data_; }
  size_t bytes() const noexcept { return bytes_; }
  Device device() const noexcept { return device_; }

 private:
  Storage() = default;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  Device device_ = Device::cpu;
  std::shared_ptr<const void> owner_;
};

// A view. Copying a Tensor shares the storage; nothing is copied or allocated. Constness is of the
// handle, not of the elements. Quantised tensors are contiguous along the last axis.
// Thread-safety: handles as int; elements as the operations that touch them say.
class Tensor {
 public:
  Tensor() = default;
  // Contiguous tensor at `offset_bytes` of storage.
  Tensor(std::shared_ptr<Storage> storage, Dtype dtype, Shape shape, size_t offset_bytes = 0);
  // New contiguous CPU tensor with its own storage, elements undefined.
  static Tensor empty(Dtype dtype, Shape shape);
  static Tensor zeros(Dtype dtype, Shape shape);

  bool defined() const noexcept { return data_ != nullptr || storage_ != nullptr; }
  Dtype dtype() const noexcept { return dtype_; }
  Device device() const noexcept { return storage_ ? storage_->device() : Device::cpu; }
  const Shape& shape() const noexcept { return shape_; }
  int64_t dim(int axis) const noexcept { return shape_[axis]; }
  int rank() const noexcept { return shape_.rank(); }
  int64_t numel() const noexcept { return shape_.numel(); }
  // Elements (not bytes) between neighbours along an axis.
  int64_t stride(int axis) const noexcept { return strides_[axis < 0 ? axis + shape_.rank() : axis]; }
  bool is_contiguous() const noexcept;
  // Bytes of the elements; contiguous tensors only.
  int64_t bytes() const;

  std::byte* raw() const noexcept { return data_; }
  // First element as T, whose size must be that of the dtype.
  template <typename T>
  T* data() const {
    OB_CHECK(static_cast<int>(sizeof(T)) == dtype_info(dtype_).block_bytes && !is_quantised(dtype_));
    return reinterpret_cast<T*>(data_);
  }
  // First byte of row i of a tensor seen as [dim 0, rest].
  std::byte* row_raw(int64_t i) const { return data_ + i * row_stride_bytes(); }
  int64_t row_stride_bytes() const;

  // Elements begin…end-1 of an axis. Quantised tensors cannot be cut along the last axis.
  Tensor slice(int axis, int64_t begin, int64_t end) const;
  // Same elements, other shape; contiguous tensors only.
  Tensor reshape(Shape shape) const;
  // Splits axis `axis` of size a*b into [a, b]; works on strided tensors.
  Tensor split_axis(int axis, int64_t inner) const;
  // Joins the last two axes; they must lie contiguously within the axis before.
  Tensor merge_last() const;
  // Same place, shape and strides in another storage of at least the same size.
  Tensor moved_to(std::shared_ptr<Storage> storage) const;
  // Same shape and strides, starting `offset` elements into the flat tensor `flat`, whose type it gets.
  Tensor rebased(const Tensor& flat, int64_t offset) const;
  const std::shared_ptr<Storage>& storage() const noexcept { return storage_; }

 private:
  std::shared_ptr<Storage> storage_;
  std::byte* data_ = nullptr;
  Dtype dtype_ = Dtype::f32;
  Shape shape_;
  std::array<int64_t, kMaxRank> strides_{};
};

// "f32 [2, 3]"
std::string to_string(const Tensor& tensor);

}  // namespace offbook
