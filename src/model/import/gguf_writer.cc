#include "src/model/import/gguf_writer.h"

#include <algorithm>
#include <cstring>

#include "src/base/error.h"

namespace offbook::model {
namespace {

using Bytes = std::vector<std::byte>;

void put(Bytes& out, const void* data, size_t size) {
  if (size > 0) {  // g++ 12 at -O3 takes insert() for an overflow here
    out.resize(out.size() + size);
    std::memcpy(out.data() + out.size() - size, data, size);
  }
}

template <typename T>
void put_value(Bytes& out, T value) {
  put(out, &value, sizeof(value));
}

void put_string(Bytes& out, std::string_view text) {
  put_value(out, uint64_t{text.size()});
  put(out, text.data(), text.size());
}

uint64_t round_up(uint64_t value) {
  return (value + kGgufDefaultAlignment - 1) / kGgufDefaultAlignment * kGgufDefaultAlignment;
}

void remember(std::vector<std::string>& names, std::string name) {
  OB_REQUIRE(std::find(names.begin(), names.end(), name) == names.end(), InvalidArgument,
             "GGUF writer: {} was given twice", name);
  names.push_back(std::move(name));
}

}  // namespace

void GgufWriter::begin_entry(std::string_view key, GgufType type) {
  OB_REQUIRE(!key.empty(), InvalidArgument, "GGUF writer: a metadata key is empty");
  remember(names_, "metadata " + std::string(key));
  put_string(entries_, key);
  put_value(entries_, static_cast<uint32_t>(type));
  ++entry_count_;
}

void GgufWriter::begin_array(std::string_view key, GgufType element, size_t count) {
  begin_entry(key, GgufType::array);
  put_value(entries_, static_cast<uint32_t>(element));
  put_value(entries_, uint64_t{count});
}

void GgufWriter::set_u32(std::string_view key, uint32_t value) {
  begin_entry(key, GgufType::u32);
  put_value(entries_, value);
}

void GgufWriter::set_u64(std::string_view key, uint64_t value) {
  begin_entry(key, GgufType::u64);
  put_value(entries_, value);
}

void GgufWriter::set_i32(std::string_view key, int32_t value) {
  begin_entry(key, GgufType::i32);
  put_value(entries_, value);
}

void GgufWriter::set_f32(std::string_view key, float value) {
  begin_entry(key, GgufType::f32);
  put_value(entries_, value);
}

void GgufWriter::set_bool(std::string_view key, bool value) {
  begin_entry(key, GgufType::boolean);
  put_value(entries_, static_cast<uint8_t>(value));
}

void GgufWriter::set_string(std::string_view key, std::string_view value) {
  begin_entry(key, GgufType::string);
  put_string(entries_, value);
}

void GgufWriter::set_strings(std::string_view key, std::span<const std::string> values) {
  begin_array(key, GgufType::string, values.size());
  for (const std::string& value : values) {
    put_string(entries_, value);
  }
}

void GgufWriter::set_i32s(std::string_view key, std::span<const int32_t> values) {
  begin_array(key, GgufType::i32, values.size());
  put(entries_, values.data(), values.size_bytes());
}

void GgufWriter::set_f32s(std::string_view key, std::span<const float> values) {
  begin_array(key, GgufType::f32, values.size());
  put(entries_, values.data(), values.size_bytes());
}

void GgufWriter::add_tensor(std::string_view name, Tensor tensor) {
  OB_REQUIRE(!name.empty(), InvalidArgument, "GGUF writer: a tensor name is empty");
  OB_REQUIRE(tensor.rank() >= 1 && tensor.rank() <= kGgufMaxRank && tensor.is_contiguous() &&
                 tensor.device() == Device::cpu,
             InvalidArgument,
             "GGUF writer: tensor {} ({}) must be contiguous, on the CPU, of rank 1 to {}", name,
             to_string(tensor), kGgufMaxRank);
  ggml_of_dtype(tensor.dtype());
  remember(names_, "tensor " + std::string(name));
  tensors_.emplace_back(name, std::move(tensor));
}

std::vector<std::byte> GgufWriter::bytes() const {
  Bytes out;
  put_value(out, kGgufMagic);
  put_value(out, uint32_t{3});
  put_value(out, uint64_t{tensors_.size()});
  put_value(out, entry_count_);
  put(out, entries_.data(), entries_.size());
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors_) {
    put_string(out, name);
    put_value(out, static_cast<uint32_t>(tensor.rank()));
    for (int axis = tensor.rank() - 1; axis >= 0; --axis) {
      put_value(out, static_cast<uint64_t>(tensor.dim(axis)));
    }
    put_value(out, ggml_of_dtype(tensor.dtype()));
    put_value(out, offset);
    offset = round_up(offset + static_cast<uint64_t>(tensor.bytes()));
  }
  for (const auto& [name, tensor] : tensors_) {
    out.resize(round_up(out.size()));
    put(out, tensor.raw(), static_cast<size_t>(tensor.bytes()));
  }
  out.resize(round_up(out.size()));
  return out;
}

void GgufWriter::write(FileSystem& fs, const std::filesystem::path& path) const {
  write_file_atomically(fs, path, bytes());
}

}  // namespace offbook::model
