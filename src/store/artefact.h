// Artefact files: immutable, content-addressed, checksummed, mapped in place.
// Every byte is described in docs/formats/artefact.md.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/base/file_system.h"
#include "src/tensor/tensor.h"

namespace offbook::store {

// Written into files: never renumber.
enum class ArtefactKind : uint32_t {
  vectors = 1,
  context = 2,
  adapter = 3,
  job_state = 4,
  training_shard = 5,  // of `data build`; never in a corpus
};

// "vectors", "context", "adapter", "job state", "training shard".
std::string_view to_string(ArtefactKind kind) noexcept;

struct NamedTensor {
  std::string name;
  Tensor tensor;  // contiguous, plain dtype, on the CPU
};

struct Artefact {
  ArtefactKind kind = ArtefactKind::job_state;
  std::string model;  // fingerprint, 32 hex digits; empty where none applies
  nlohmann::json fields = nlohmann::json::object();
  std::vector<NamedTensor> tensors;  // order is kept

  // Null when there is none of that name.
  const Tensor* find(std::string_view name) const noexcept;
  // Corrupt (naming the tensor) when missing.
  const Tensor& at(std::string_view name) const;
};

// A text, number… of `fields`; Corrupt naming the field when it is missing or of another type.
template <typename T>
T field(const Artefact& artefact, const char* name) {
  try {
    return artefact.fields.at(name).get<T>();
  } catch (const nlohmann::json::exception&) {
    OB_THROW(Corrupt, "{} artefact: field {} is missing or of a wrong type",
             to_string(artefact.kind), name);
  }
}

// The file's bytes. The same artefact gives the same bytes. Throws InvalidArgument for tensors that
// cannot be stored. Cost: one copy of the tensors.
std::vector<std::byte> encode_artefact(const Artefact& artefact);

// 32 hex digits, read from the header of an encoded artefact.
std::string artefact_id(std::span<const std::byte> file);

// Tensors are views into `file` and keep it alive. Throws Corrupt (damage, with path and offset) or
// Unsupported (newer version, unknown kind). Cost: one pass over the bytes for the checksum, no
// copy.
Artefact decode_artefact(std::shared_ptr<const ReadableFile> file, std::string_view path);

// The artefacts of one corpus. Thread-safe: files are immutable and renamed into place.
class ArtefactStore {
 public:
  ArtefactStore(FileSystem& fs, std::filesystem::path root) : fs_(fs), root_(std::move(root)) {}

  // Id; the file is durable on return. Equal content that is there already is not written again.
  std::string put(const Artefact& artefact);
  // NotFound, Corrupt (also when it is of another kind than asked), Unsupported, Io.
  Artefact get(std::string_view id, ArtefactKind kind) const;
  // Absent when there is no such file.
  std::optional<uint64_t> size_bytes(std::string_view id) const;
  void remove(std::string_view id);  // a missing file is no error
  struct Listing {
    std::vector<std::string> ids;                   // sorted
    std::vector<std::filesystem::path> unexpected;  // what has no artefact's name
  };
  Listing list() const;
  // Throws InvalidArgument unless id is 32 lower-case hex digits.
  std::filesystem::path path_of(std::string_view id) const;

 private:
  FileSystem& fs_;
  std::filesystem::path root_;
};

}  // namespace offbook::store
