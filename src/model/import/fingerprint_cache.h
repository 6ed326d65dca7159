// Fingerprints by the files they were taken of.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "src/base/file_system.h"
#include "src/records/context.h"

namespace offbook::model::internal {

// "path|inode|size|mtime" of every file, in order. NotFound if one is gone.
std::string fingerprint_cache_key(FileSystem& fs, std::span<const std::filesystem::path> files);

// What the cache holds for `key`, else compute()'s result, which is then kept. Without a directory
// it only computes. A broken or unwritable cache never fails the caller.
Fingerprint cached_fingerprint(FileSystem& fs,
                               const std::optional<std::filesystem::path>& directory,
                               const std::string& key, const std::function<Fingerprint()>& compute);

}  // namespace offbook::model::internal
