#include "src/store/artefact.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "src/base/checked_math.h"
#include "src/base/error.h"
#include "src/store/hash.h"

namespace offbook::store {
namespace {

using nlohmann::json;

constexpr uint64_t kAlignment = 64;
constexpr uint32_t kVersion = 1;
constexpr uint64_t kMaxMetaBytes = 16u << 20;
constexpr uint64_t kMaxElements = uint64_t{1} << 48;
constexpr char kMagic[8] = {'O', 'F', 'F', 'B', 'O', 'O', 'K', '\n'};
constexpr Dtype kStorable[] = {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::i32,
                               Dtype::i64, Dtype::u8,  Dtype::i8};

// The first 64 bytes; x86-64 only, so memory order is file order.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t kind;
  uint64_t meta_bytes;
  uint64_t payload_bytes;
  Digest model;
  Digest checksum;
};
static_assert(sizeof(Header) == kAlignment);

uint64_t aligned(uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

// "path: offset N: …", the way every complaint about a file begins.
struct Where {
  std::string_view path;
  std::string at(uint64_t offset) const {
    return fmt::format("artefact {}, offset {}", path, offset);
  }
};

Digest checksum_of(Header header, std::span<const std::byte> rest) {
  header.checksum = {};
  return Hasher().add(std::as_bytes(std::span(&header, 1))).add(rest).digest();
}

json meta_of(const Artefact& artefact) {
  json tensors = json::array();
  for (const auto& [name, tensor] : artefact.tensors) {
    OB_REQUIRE(tensor.defined() && tensor.is_contiguous() && !is_quantised(tensor.dtype()) &&
                   tensor.device() == Device::cpu,
               InvalidArgument, "{} artefact: tensor {} must be contiguous, plain and on the CPU",
               to_string(artefact.kind), name);
    tensors.push_back({{"name", name},
                       {"dtype", dtype_info(tensor.dtype()).name},
                       {"shape", tensor.shape().dims()}});
  }
  return {{"fields", artefact.fields}, {"tensors", tensors}};
}

Header read_header(std::span<const std::byte> bytes, const Where& where) {
  OB_REQUIRE(bytes.size() >= sizeof(Header), Corrupt, "{}: the file ends inside its 64-byte header",
             where.at(bytes.size()));
  Header header;
  std::memcpy(&header, bytes.data(), sizeof(Header));
  OB_REQUIRE(std::memcmp(header.magic, kMagic, sizeof(kMagic)) == 0, Corrupt,
             "{}: not an offbook artefact (wrong first 8 bytes)", where.at(0));
  OB_REQUIRE(header.version != 0, Corrupt, "{}: format version 0", where.at(8));
  OB_REQUIRE(header.version <= kVersion, Unsupported,
             "{}: written in format {}, this offbook reads up to {}; use a newer offbook",
             where.at(8), header.version, kVersion);
  return header;
}

void check_whole(const Header& header, std::span<const std::byte> bytes, const Where& where) {
  OB_REQUIRE(header.meta_bytes <= kMaxMetaBytes, Corrupt, "{}: meta of {} bytes, at most {}",
             where.at(16), header.meta_bytes, kMaxMetaBytes);
  const uint64_t expected =
      checked_add(aligned(sizeof(Header) + header.meta_bytes), header.payload_bytes, where.at(24));
  OB_REQUIRE(bytes.size() == expected, Corrupt, "{}: the file has {} bytes, its header says {}",
             where.at(24), bytes.size(), expected);
  const Digest found = checksum_of(header, bytes.subspan(sizeof(Header)));
  OB_REQUIRE(found == header.checksum, Corrupt, "{}: checksum {} expected, the bytes give {}",
             where.at(48), to_hex(header.checksum), to_hex(found));
  OB_REQUIRE(header.kind >= 1 && header.kind <= static_cast<uint32_t>(ArtefactKind::training_shard),
             Unsupported, "{}: unknown kind of artefact {}", where.at(12), header.kind);
}

Dtype dtype_named(const std::string& name, const Where& where) {
  for (const Dtype dtype : kStorable) {
    if (dtype_info(dtype).name == name) {
      return dtype;
    }
  }
  OB_THROW(Corrupt, "{}: tensor of unknown element type '{}'", where.at(64), name);
}

Shape shape_from(const json& dims, const Where& where) {
  OB_REQUIRE(dims.is_array() && dims.size() <= kMaxRank, Corrupt,
             "{}: a tensor has at most {} axes", where.at(64), kMaxRank);
  std::vector<int64_t> sizes;
  uint64_t spread = 1;  // of the axes, empty ones too: strides must not overflow either
  for (const json& dim : dims) {
    OB_REQUIRE(dim.is_number_integer() && dim.get<int64_t>() >= 0, Corrupt,
               "{}: an axis of a tensor has no size", where.at(64));
    sizes.push_back(dim.get<int64_t>());
    spread = checked_mul(spread, std::max<uint64_t>(1, sizes.back()), where.at(64));
    OB_REQUIRE(spread <= kMaxElements, Corrupt, "{}: a tensor of more than 2^48 elements",
               where.at(64));
  }
  return Shape(std::span<const int64_t>(sizes));
}

uint64_t bytes_of(Dtype dtype, const Shape& shape, const Where& where) {
  uint64_t bytes = static_cast<uint64_t>(dtype_info(dtype).block_bytes);
  for (const int64_t dim : shape.dims()) {
    bytes = checked_mul(bytes, static_cast<uint64_t>(dim), where.at(64));
  }
  return bytes;
}

// Reads the tensors' descriptions and lays them over the payload.
std::vector<NamedTensor> tensors_from(const json& list, std::shared_ptr<Storage> payload,
                                      const Where& where) {
  std::vector<NamedTensor> tensors;
  std::set<std::string> names;
  uint64_t end = 0;
  for (const json& entry : list) {
    auto name = entry.at("name").get<std::string>();
    OB_REQUIRE(names.insert(name).second, Corrupt, "{}: two tensors named {}", where.at(64), name);
    const Dtype dtype = dtype_named(entry.at("dtype").get<std::string>(), where);
    const Shape shape = shape_from(entry.at("shape"), where);
    const uint64_t begin = aligned(end);
    end = checked_add(begin, bytes_of(dtype, shape, where), where.at(64));
    OB_REQUIRE(begin <= end && end <= payload->bytes(), Corrupt,
               "{}: tensor {} ends at payload byte {} of {}", where.at(64), name, end,
               payload->bytes());
    tensors.push_back({std::move(name), Tensor(payload, dtype, shape, begin)});
  }
  OB_REQUIRE(end == payload->bytes(), Corrupt, "{}: tensors end at payload byte {} of {}",
             where.at(64), end, payload->bytes());
  return tensors;
}

}  // namespace

std::string_view to_string(ArtefactKind kind) noexcept {
  switch (kind) {
    case ArtefactKind::vectors:
      return "vectors";
    case ArtefactKind::context:
      return "context";
    case ArtefactKind::adapter:
      return "adapter";
    case ArtefactKind::job_state:
      return "job state";
    case ArtefactKind::training_shard:
      return "training shard";
  }
  return "unknown";
}

const Tensor* Artefact::find(std::string_view name) const noexcept {
  for (const NamedTensor& named : tensors) {
    if (named.name == name) {
      return &named.tensor;
    }
  }
  return nullptr;
}

const Tensor& Artefact::at(std::string_view name) const {
  const Tensor* tensor = find(name);
  OB_REQUIRE(tensor != nullptr, Corrupt, "{} artefact: tensor {} is missing", to_string(kind),
             name);
  return *tensor;
}

std::vector<std::byte> encode_artefact(const Artefact& artefact) {
  OB_REQUIRE(artefact.model.empty() || is_hex_digest(artefact.model), InvalidArgument,
             "model fingerprint '{}' is not 32 hex digits", artefact.model);
  const std::string meta = meta_of(artefact).dump();
  OB_REQUIRE(meta.size() <= kMaxMetaBytes, InvalidArgument,
             "{} artefact: {} bytes of fields, at most {}", to_string(artefact.kind), meta.size(),
             kMaxMetaBytes);
  const uint64_t payload = aligned(sizeof(Header) + meta.size());
  std::vector<std::byte> file(payload);
  for (const auto& [name, tensor] : artefact.tensors) {
    file.resize(aligned(file.size()));
    const auto bytes = static_cast<size_t>(tensor.bytes());
    file.insert(file.end(), tensor.raw(), tensor.raw() + bytes);
  }
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.kind = static_cast<uint32_t>(artefact.kind);
  header.meta_bytes = meta.size();
  header.payload_bytes = file.size() - payload;
  header.model = artefact.model.empty() ? Digest{} : from_hex(artefact.model);
  std::memcpy(file.data() + sizeof(Header), meta.data(), meta.size());
  header.checksum = checksum_of(header, std::span(file).subspan(sizeof(Header)));
  std::memcpy(file.data(), &header, sizeof(Header));
  return file;
}

std::string artefact_id(std::span<const std::byte> file) {
  OB_CHECK(file.size() >= sizeof(Header));
  Digest checksum;
  std::memcpy(checksum.data(), file.data() + offsetof(Header, checksum), checksum.size());
  return to_hex(checksum);
}

Artefact decode_artefact(std::shared_ptr<const ReadableFile> file, std::string_view path) {
  const Where where{path};
  const auto bytes = file->bytes();
  const Header header = read_header(bytes, where);
  check_whole(header, bytes, where);
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + sizeof(Header);
  const auto payload = bytes.subspan(aligned(sizeof(Header) + header.meta_bytes));
  try {
    const json meta = json::parse(text, text + header.meta_bytes);
    OB_REQUIRE(meta.at("fields").is_object() && meta.at("tensors").is_array(), Corrupt,
               "{}: meta has no fields or no tensors", where.at(64));
    auto storage = Storage::borrow(payload.data(), payload.size(), std::move(file));
    return {.kind = static_cast<ArtefactKind>(header.kind),
            .model = header.model == Digest{} ? std::string() : to_hex(header.model),
            .fields = meta.at("fields"),
            .tensors = tensors_from(meta.at("tensors"), std::move(storage), where)};
  } catch (const json::exception& e) {
    OB_THROW(Corrupt, "{}: meta is not the expected JSON: {}", where.at(64), e.what());
  }
}

std::filesystem::path ArtefactStore::path_of(std::string_view id) const {
  OB_REQUIRE(is_hex_digest(id), InvalidArgument, "'{}' is no artefact id (32 hex digits)", id);
  return root_ / std::string(id.substr(0, 2)) / (std::string(id) + ".ob");
}

std::string ArtefactStore::put(const Artefact& artefact) {
  const std::vector<std::byte> file = encode_artefact(artefact);
  const std::string id = artefact_id(file);
  const std::filesystem::path path = path_of(id);
  if (fs_.stat(path)) {
    const auto there = fs_.open(path);  // a damaged file of this name is replaced, not trusted
    if (std::ranges::equal(there->bytes(), file)) {
      // Written by someone who may have died before syncing the name.
      fs_.sync_directory(path.parent_path());
      return id;
    }
  }
  fs_.create_directories(path.parent_path());
  write_file_atomically(fs_, path, file);
  return id;
}

Artefact ArtefactStore::get(std::string_view id, ArtefactKind kind) const {
  const std::filesystem::path path = path_of(id);
  const std::shared_ptr<const ReadableFile> file = fs_.open(path);
  Artefact artefact = decode_artefact(file, path.string());
  OB_REQUIRE(artefact_id(file->bytes()) == id, Corrupt,
             "artefact {}: its content belongs to another name", path.string());
  OB_REQUIRE(artefact.kind == kind, Corrupt, "artefact {}: holds {}, wanted {}", path.string(),
             to_string(artefact.kind), to_string(kind));
  return artefact;
}

std::optional<uint64_t> ArtefactStore::size_bytes(std::string_view id) const {
  const auto info = fs_.stat(path_of(id));
  return info ? std::optional(info->size_bytes) : std::nullopt;
}

void ArtefactStore::remove(std::string_view id) {
  const std::filesystem::path path = path_of(id);
  if (fs_.stat(path)) {
    fs_.remove(path);
  }
}

ArtefactStore::Listing ArtefactStore::list() const {
  Listing listing;
  for (const std::string& folder : fs_.list(root_)) {
    const auto info = fs_.stat(root_ / folder);
    if (!info || !info->is_directory || info->is_symlink) {
      listing.unexpected.push_back(root_ / folder);
      continue;
    }
    for (const std::string& name : fs_.list(root_ / folder)) {
      const std::string id = name.substr(0, name.find('.'));
      if (is_hex_digest(id) && name == id + ".ob" && id.starts_with(folder)) {
        listing.ids.push_back(id);
      } else {
        listing.unexpected.push_back(root_ / folder / name);
      }
    }
  }
  return listing;
}

}  // namespace offbook::store
