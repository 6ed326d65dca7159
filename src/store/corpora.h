// The directory that holds all corpora of a user, by name.
#pragma once
#include <string>
#include <vector>

#include "src/store/corpus.h"

namespace offbook::store {

// Throws InvalidArgument unless the name is 1–64 of A–Z a–z 0–9 . _ - and begins with none of . -
// (so no name is a path, hidden, or looks like an option).
void check_corpus_name(std::string_view name);

// Thread-safe as far as the file system is; holds no state.
class Corpora {
 public:
  explicit Corpora(std::filesystem::path root, FileSystem& fs = real_file_system())
      : fs_(fs), root_(std::move(root)) {}

  std::vector<std::string> list() const;  // sorted; empty when the root does not exist
  std::filesystem::path path_of(std::string_view name) const;  // InvalidArgument
  // NotFound names the corpus and the ones there are.
  Corpus open(std::string_view name, Access access) const;
  Corpus create(std::string_view name) const;  // InvalidArgument when it exists
  // Both refuse with Io while another process writes the corpus.
  void rename(std::string_view from, std::string_view to) const;
  void remove(std::string_view name) const;

 private:
  std::unique_ptr<FileLock> lock(std::string_view name) const;

  FileSystem& fs_;
  std::filesystem::path root_;
};

// Removes a directory and all in it; symbolic links are removed, not followed.
void remove_tree(FileSystem& fs, const std::filesystem::path& path);

}  // namespace offbook::store
