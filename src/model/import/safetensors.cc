#include "src/model/import/safetensors.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "src/base/checked_math.h"
#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/model/import/byte_reader.h"
#include "src/model/import/gguf.h"
#include "src/model/import/safetensors_header.h"

namespace offbook::model {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's own limit
constexpr uint64_t kMaxIndexBytes = 64 << 20;
constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

std::string_view safetensors_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return "F32";
    case Dtype::f16:
      return "F16";
    case Dtype::bf16:
      return "BF16";
    case Dtype::i32:
      return "I32";
    case Dtype::i64:
      return "I64";
    case Dtype::u8:
      return "U8";
    case Dtype::i8:
      return "I8";
    default:
      OB_THROW(Unsupported, "safetensors files cannot hold {} tensors", dtype_info(dtype).name);
  }
}

void check_shard_name(const std::string& index, const std::string& shard) {
  const bool is_plain = !shard.empty() && shard != "." && shard != ".." &&
                        shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  OB_REQUIRE(is_plain, Corrupt, "{}: shard {} is not a plain file name", index, printable(shard));
}

// name → shard file name, checked.
std::map<std::string, std::string> read_index(FileSystem& fs, const std::filesystem::path& path) {
  const auto file = fs.open(path);
  const auto json = parse_json(file->bytes(), path.string(), kMaxIndexBytes);
  const auto map = JsonFields(json, path.string()).find_object("weight_map");
  OB_REQUIRE(map.has_value(), Corrupt, "{}: field weight_map is missing", path.string());
  std::map<std::string, std::string> out;
  for (const auto& [name, shard] : map->value().items()) {
    OB_REQUIRE(shard.is_string(), Corrupt, "{}: weight_map: tensor {}: wanted a file name",
               path.string(), printable(name));
    check_shard_name(path.string(), shard.get_ref<const std::string&>());
    out[name] = shard.get<std::string>();
  }
  OB_REQUIRE(!out.empty(), Corrupt, "{}: weight_map names no tensor", path.string());
  return out;
}

}  // namespace

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(FileSystem& fs,
                                                             const std::filesystem::path& path) {
  std::shared_ptr<const ReadableFile> mapped = fs.open(path);
  return parse(mapped->bytes(), path.string(), mapped);
}

std::shared_ptr<const SafetensorsFile> SafetensorsFile::parse(
    std::span<const std::byte> bytes, std::string file, std::shared_ptr<const void> keep_alive) {
  std::shared_ptr<SafetensorsFile> out(new SafetensorsFile);
  out->file_ = std::move(file);
  ByteReader in(bytes, out->file_);
  const auto header_bytes = in.read<uint64_t>("header length");
  OB_REQUIRE(header_bytes <= kMaxHeaderBytes, Corrupt,
             "{}: header length at offset 0: {}, at most {} allowed", out->file_, header_bytes,
             kMaxHeaderBytes);
  auto header = internal::read_safetensors_header(in.take(header_bytes, "header"), out->file_);
  out->metadata_ = std::move(header.metadata);
  out->tensors_ = std::move(header.tensors);
  out->storage_ = Storage::borrow(bytes.data(), bytes.size(), std::move(keep_alive));
  out->check_data(in.offset(), bytes.size());
  return out;
}

void SafetensorsFile::check_data(uint64_t data_begin, uint64_t file_bytes) {
  const uint64_t data_bytes = file_bytes - data_begin;
  std::sort(tensors_.begin(), tensors_.end(),
            [](const SafetensorsInfo& a, const SafetensorsInfo& b) {
              return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
            });
  uint64_t end = 0;
  for (SafetensorsInfo& info : tensors_) {
    const std::string name = printable(info.name);
    OB_REQUIRE(info.offset == end, Corrupt,
               "{}: tensor {}: data begin at {}, wanted {}: tensors overlap or leave a gap", file_,
               name, info.offset, end);
    end = checked_add(info.offset, info.bytes, "end of tensor " + name);
    OB_REQUIRE(end <= data_bytes, Corrupt,
               "{}: tensor {}: data end at {}, the file holds {}; it is cut short, fetch it again",
               file_, name, end, data_bytes);
    info.offset += data_begin;
  }
  OB_REQUIRE(end == data_bytes, Corrupt, "{}: {} bytes after the last tensor belong to none", file_,
             data_bytes - end);
  std::sort(tensors_.begin(), tensors_.end(),
            [](const SafetensorsInfo& a, const SafetensorsInfo& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(
      tensors_.begin(), tensors_.end(),
      [](const SafetensorsInfo& a, const SafetensorsInfo& b) { return a.name == b.name; });
  OB_REQUIRE(twice == tensors_.end(), Corrupt, "{}: tensor {} is there twice", file_,
             printable(twice->name));
}

const SafetensorsInfo* SafetensorsFile::find(std::string_view name) const {
  const auto it =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const SafetensorsInfo& a, std::string_view n) { return a.name < n; });
  return it != tensors_.end() && it->name == name ? &*it : nullptr;
}

Tensor SafetensorsFile::tensor(std::string_view name) const {
  const SafetensorsInfo* info = find(name);
  OB_REQUIRE(info != nullptr, NotFound, "{}: tensor {} is missing", file_, printable(name));
  OB_REQUIRE(info->dtype.has_value(), Unsupported,
             "{}: tensor {} is stored as {}; this build reads F32, F16, BF16, I32, I64, U8 and I8",
             file_, printable(name), printable(info->dtype_name));
  return view_tensor(storage_, *info->dtype, info->shape, info->offset);
}

std::shared_ptr<const SafetensorsModel> SafetensorsModel::open(
    FileSystem& fs, const std::filesystem::path& directory) {
  if (!fs.stat(directory / kIndexFile)) {
    OB_REQUIRE(fs.stat(directory / kSingleFile).has_value(), NotFound,
               "{}: holds neither {} nor {}", directory.string(), kSingleFile, kIndexFile);
    return std::make_shared<SafetensorsModel>(
        std::vector{SafetensorsFile::open(fs, directory / kSingleFile)});
  }
  const auto index = read_index(fs, directory / kIndexFile);
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> shards;
  for (const auto& [name, shard] : index) {
    auto& file = shards[shard];
    if (!file) {
      file = SafetensorsFile::open(fs, directory / shard);
    }
    OB_REQUIRE(file->find(name) != nullptr, Corrupt, "{}: tensor {} is not in {}, where {} puts it",
               directory.string(), printable(name), printable(shard), kIndexFile);
  }
  std::vector<std::shared_ptr<const SafetensorsFile>> files;
  for (auto& [name, file] : shards) {
    files.push_back(std::move(file));
  }
  return std::make_shared<SafetensorsModel>(std::move(files));
}

SafetensorsModel::SafetensorsModel(std::vector<std::shared_ptr<const SafetensorsFile>> shards)
    : shards_(std::move(shards)) {
  OB_REQUIRE(!shards_.empty(), InvalidArgument, "a model needs at least one safetensors file");
  const std::filesystem::path first = shards_.front()->file();
  name_ = shards_.size() == 1 ? first.string() : first.parent_path().string();
  std::set<std::string_view> names;
  for (const auto& shard : shards_) {
    for (const SafetensorsInfo& info : shard->tensors()) {
      OB_REQUIRE(names.insert(info.name).second, Corrupt, "{}: tensor {} is in two shards", name_,
                 printable(info.name));
    }
  }
}

const SafetensorsFile* SafetensorsModel::shard_of(std::string_view name) const {
  const auto it = std::find_if(shards_.begin(), shards_.end(),
                               [&](const auto& shard) { return shard->find(name) != nullptr; });
  return it == shards_.end() ? nullptr : it->get();
}

Tensor SafetensorsModel::tensor(std::string_view name) const {
  const SafetensorsFile* shard = shard_of(name);
  OB_REQUIRE(shard != nullptr, NotFound, "{}: tensor {} is missing", name_, printable(name));
  return shard->tensor(name);
}

std::vector<std::byte> write_safetensors(const std::map<std::string, Tensor>& tensors,
                                         const std::map<std::string, std::string>& metadata) {
  std::vector<std::pair<std::string_view, const Tensor*>> order;
  for (const auto& [name, tensor] : tensors) {
    OB_REQUIRE(!name.empty() && name != "__metadata__" && tensor.defined() &&
                   tensor.is_contiguous() && tensor.device() == Device::cpu,
               InvalidArgument,
               "safetensors writer: tensor {} must have a name, be contiguous and on the CPU",
               printable(name));
    safetensors_name(tensor.dtype());
    order.emplace_back(name, &tensor);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return dtype_info(a.second->dtype()).block_bytes > dtype_info(b.second->dtype()).block_bytes;
  });
  auto header = nlohmann::json::object();
  if (!metadata.empty()) {
    header["__metadata__"] = metadata;
  }
  uint64_t end = 0;
  for (const auto& [name, tensor] : order) {
    const auto dims = tensor->shape().dims();
    const uint64_t begin = end;
    end += static_cast<uint64_t>(tensor->bytes());
    header[std::string(name)] = {{"dtype", safetensors_name(tensor->dtype())},
                                 {"shape", std::vector<int64_t>(dims.begin(), dims.end())},
                                 {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::vector<std::byte> out(8 + text.size() + end);
  std::memcpy(out.data(), &length, 8);
  std::memcpy(out.data() + 8, text.data(), text.size());
  std::byte* at = out.data() + 8 + text.size();
  for (const auto& [name, tensor] : order) {
    std::memcpy(at, tensor->raw(), static_cast<size_t>(tensor->bytes()));
    at += tensor->bytes();
  }
  return out;
}

}  // namespace offbook::model
