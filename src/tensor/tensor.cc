#include "src/tensor/tensor.h"

#include <cstdlib>
#include <cstring>

namespace offbook {
namespace {

constexpr size_t kAlignment = 64;

std::array<int64_t, kMaxRank> contiguous_strides(const Shape& shape) {
  std::array<int64_t, kMaxRank> strides{};
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

int64_t shape_bytes(Dtype dtype, const Shape& shape) {
  if (shape.rank() == 0) {
    return dtype_bytes(dtype, 1);
  }
  return shape.numel() == 0 ? 0 : dtype_bytes(dtype, shape[-1]) * (shape.numel() / shape[-1]);
}

}  // namespace

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape.dims(), ", ")); }

std::string to_string(const Tensor& tensor) {
  return fmt::format("{} {}", dtype_info(tensor.dtype()).name, to_string(tensor.shape()));
}

std::shared_ptr<Storage> Storage::allocate(size_t bytes) {
  const size_t padded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, padded == 0 ? kAlignment : padded);
  OB_REQUIRE(memory != nullptr, OutOfMemory, "no memory for a tensor of {} bytes", bytes);
  std::shared_ptr<const void> owner(memory, [](const void* p) { std::free(const_cast<void*>(p)); });
  return borrow(static_cast<std::byte*>(memory), bytes, std::move(owner));
}

std::shared_ptr<Storage> Storage::borrow(const std::byte* data, size_t bytes, std::shared_ptr<const void> keep_alive,
                                         Device device) {
  std::shared_ptr<Storage> storage(new Storage);
  storage->data_ = const_cast<std::byte*>(data);
  storage->bytes_ = bytes;
  storage->device_ = device;
  storage->owner_ = std::move(keep_alive);
  return storage;
}

Tensor::Tensor(std::shared_ptr<Storage> storage, Dtype dtype, Shape shape, size_t offset_bytes)
    : storage_(std::move(storage)), dtype_(dtype), shape_(shape), strides_(contiguous_strides(shape)) {
  OB_CHECK(storage_ != nullptr);
  const auto needed = static_cast<size_t>(shape_bytes(dtype, shape));
  OB_REQUIRE(offset_bytes <= storage_->bytes() && needed <= storage_->bytes() - offset_bytes, InvalidArgument,
             "{} {} needs {} bytes at offset {} of a storage of {}", dtype_info(dtype).name, to_string(shape), needed,
             offset_bytes, storage_->bytes());
  data_ = storage_->data() + offset_bytes;
}

Tensor Tensor::empty(Dtype dtype, Shape shape) {
  return Tensor(Storage::allocate(static_cast<size_t>(shape_bytes(dtype, shape))), dtype, shape);
}

Tensor Tensor::zeros(Dtype dtype, Shape shape) {
  Tensor tensor = empty(dtype, shape);
  std::memset(tensor.raw(), 0, static_cast<size_t>(tensor.bytes()));
  return tensor;
}

bool Tensor::is_contiguous() const noexcept {
  int64_t step = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != step) {
      return false;
    }
    step *= shape_[i];
  }
  return true;
}

int64_t Tensor::bytes() const {
  OB_CHECK(is_contiguous());
  return shape_bytes(dtype_, shape_);
}

int64_t Tensor::row_stride_bytes() const {
  const DtypeInfo& info = dtype_info(dtype_);
  return strides_[0] / info.block_elems * info.block_bytes;
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
  axis = axis < 0 ? axis + rank() : axis;
  OB_REQUIRE(axis >= 0 && axis < rank() && 0 <= begin && begin <= end && end <= shape_[axis], InvalidArgument,
             "elements {}…{} of axis {} of {}", begin, end, axis, to_string(shape_));
  Tensor out = *this;
  const DtypeInfo& info = dtype_info(dtype_);
  const int64_t offset = begin * strides_[axis];
  OB_REQUIRE(offset % info.block_elems == 0 && (!is_quantised(dtype_) || axis != rank() - 1 || begin == end ||
                                                 (begin == 0 && end == shape_[axis])),
             InvalidArgument, "a {} tensor cannot be cut along its last axis", info.name);
  out.data_ += offset / info.block_elems * info.block_bytes;
  out.shape_[axis] = end - begin;
  return out;
}

Tensor Tensor::reshape(Shape shape) const {
  OB_REQUIRE(is_contiguous() && shape.numel() == numel(), InvalidArgument, "{} cannot be seen as {}",
             to_string(*this), to_string(shape));
  Tensor out = *this;
  out.shape_ = shape;
  out.strides_ = contiguous_strides(shape);
  return out;
}

Tensor Tensor::merge_last() const {
  const int n = rank();
  OB_REQUIRE(n >= 2 && (shape_[n - 1] == 1 || strides_[n - 1] == 1) &&
                 (shape_[n - 2] <= 1 || strides_[n - 2] == shape_[n - 1]),
             InvalidArgument, "the last axes of {} cannot be joined", to_string(*this));
  Tensor out = *this;
  const int64_t joined = shape_[n - 2] * shape_[n - 1];
  out.shape_ = Shape(shape_.dims().first(static_cast<size_t>(n - 1)));
  out.shape_[n - 2] = joined;
  out.strides_[n - 2] = 1;
  out.strides_[n - 1] = 0;
  return out;
}

Tensor Tensor::moved_to(std::shared_ptr<Storage> storage) const {
  OB_CHECK(storage_ != nullptr && storage != nullptr && storage->bytes() >= storage_->bytes());
  Tensor out = *this;
  out.data_ = storage->data() + (data_ - storage_->data());
  out.storage_ = std::move(storage);
  return out;
}

Tensor Tensor::rebased(const Tensor& flat, int64_t offset) const {
  OB_CHECK(flat.rank() == 1 && flat.is_contiguous() && !is_quantised(dtype_) && !is_quantised(flat.dtype_));
  Tensor out = *this;
  out.storage_ = flat.storage_;
  out.dtype_ = flat.dtype_;
  out.data_ = flat.data_ + offset * dtype_info(flat.dtype_).block_bytes;
  return out;
}

Tensor Tensor::split_axis(int axis, int64_t inner) const {
  axis = axis < 0 ? axis + rank() : axis;
  OB_REQUIRE(rank() < kMaxRank && inner > 0 && shape_[axis] % inner == 0, InvalidArgument,
             "axis {} of {} does not split into rows of {}", axis, to_string(shape_), inner);
  std::array<int64_t, kMaxRank> dims{};
  Tensor out = *this;
  for (int i = 0, j = 0; i < rank(); ++i, ++j) {
    if (i == axis) {
      dims[j] = shape_[i] / inner;
      out.strides_[j] = strides_[i] * inner;
      ++j;
      dims[j] = inner;
      out.strides_[j] = strides_[i];
    } else {
      dims[j] = shape_[i];
      out.strides_[j] = strides_[i];
    }
  }
  out.shape_ = Shape(std::span<const int64_t>(dims.data(), static_cast<size_t>(rank() + 1)));
  return out;
}

}  // namespace offbook
