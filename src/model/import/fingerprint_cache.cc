#include "src/model/import/fingerprint_cache.h"

#include "src/base/error.h"
#include "src/base/json_fields.h"

namespace offbook::model::internal {
namespace {

constexpr char kFile[] = "fingerprints.json";
// Raised whenever the same files would give other hashes than before.
constexpr int kVersion = 1;
constexpr uint64_t kMaxBytes = 1 << 20;
constexpr size_t kMaxEntries = 256;

bool is_hash(const std::string& text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// The entries of a well-formed cache of this version; an empty object for any other content.
nlohmann::json read_entries(FileSystem& fs, const std::filesystem::path& path) {
  try {
    if (!fs.stat(path)) {
      return nlohmann::json::object();
    }
    const auto json = parse_json(fs.open(path)->bytes(), path.string(), kMaxBytes);
    const JsonFields fields(json, path.string());
    fields.get_int("version", kVersion, kVersion);
    return fields.find_object("entries").value().value();
  } catch (const std::exception&) {
    return nlohmann::json::object();
  }
}

std::optional<Fingerprint> find(const nlohmann::json& entries, const std::string& key) {
  const auto it = entries.find(key);
  if (it == entries.end() || !it->is_object()) {
    return std::nullopt;
  }
  const Fingerprint out{.model = it->value("model", ""), .family = it->value("family", "")};
  return is_hash(out.model) && is_hash(out.family) ? std::optional(out) : std::nullopt;
}

void keep(FileSystem& fs, const std::filesystem::path& directory, const std::string& key,
          const Fingerprint& fingerprint) {
  try {
    fs.create_directories(directory);
    nlohmann::json entries = read_entries(fs, directory / kFile);
    if (entries.size() >= kMaxEntries) {
      entries = nlohmann::json::object();
    }
    entries[key] = {{"model", fingerprint.model}, {"family", fingerprint.family}};
    const std::string text =
        nlohmann::json{{"version", kVersion}, {"entries", std::move(entries)}}.dump(1);
    write_file_atomically(fs, directory / kFile, std::as_bytes(std::span(text)));
  } catch (const std::exception&) {
    // A read-only or full cache directory costs time at the next start, nothing else.
  }
}

}  // namespace

std::string fingerprint_cache_key(FileSystem& fs, std::span<const std::filesystem::path> files) {
  std::string key;
  for (const auto& path : files) {
    const auto info = fs.stat(path);
    OB_REQUIRE(info.has_value(), NotFound, "fingerprint: {} is not there", path.string());
    key += fmt::format("{}{}|{}|{}|{}", key.empty() ? "" : ";",
                       std::filesystem::absolute(path).string(), info->inode, info->size_bytes,
                       info->modified_ns);
  }
  return key;
}

Fingerprint cached_fingerprint(FileSystem& fs,
                               const std::optional<std::filesystem::path>& directory,
                               const std::string& key,
                               const std::function<Fingerprint()>& compute) {
  if (!directory) {
    return compute();
  }
  try {
    if (const auto hit = find(read_entries(fs, *directory / kFile), key)) {
      return *hit;
    }
  } catch (const nlohmann::json::exception&) {
    // An entry of other types than ours: computed anew and written over.
  }
  Fingerprint out = compute();
  keep(fs, *directory, key, out);
  return out;
}

}  // namespace offbook::model::internal
