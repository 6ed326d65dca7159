#include "src/store/corpora.h"

#include <algorithm>

#include <unistd.h>

namespace offbook::store {
namespace {

bool is_name_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

}  // namespace

void check_corpus_name(std::string_view name) {
  const bool is_good = !name.empty() && name.size() <= 64 && name[0] != '.' && name[0] != '-' &&
                       std::all_of(name.begin(), name.end(), is_name_character);
  OB_REQUIRE(is_good, InvalidArgument,
             "'{}' cannot name a corpus: 1 to 64 of A-Z a-z 0-9 . _ - and no leading . or -",
             name.substr(0, 80));
}

void remove_tree(FileSystem& fs, const std::filesystem::path& path) {
  const auto info = fs.stat(path);
  if (!info) {
    return;
  }
  if (info->is_directory && !info->is_symlink) {
    for (const std::string& name : fs.list(path)) {
      remove_tree(fs, path / name);
    }
  }
  fs.remove(path);
}

std::filesystem::path Corpora::path_of(std::string_view name) const {
  check_corpus_name(name);
  return root_ / name;
}

std::vector<std::string> Corpora::list() const {
  std::vector<std::string> names;
  if (!fs_.stat(root_)) {
    return names;
  }
  for (const std::string& name : fs_.list(root_)) {
    if (!name.starts_with('.') && Corpus::is_corpus(fs_, root_ / name)) {
      names.push_back(name);
    }
  }
  return names;
}

Corpus Corpora::open(std::string_view name, Access access) const {
  const std::filesystem::path path = path_of(name);
  if (!fs_.stat(path)) {
    const std::vector<std::string> names = list();
    OB_THROW(NotFound, "no corpus is called '{}' in {} (there {})", name, root_.string(),
             names.empty() ? "are none" : fmt::format("are: {}", fmt::join(names, ", ")));
  }
  return Corpus::open(path, {.access = access, .fs = &fs_});
}

Corpus Corpora::create(std::string_view name) const {
  const std::filesystem::path path = path_of(name);
  OB_REQUIRE(!Corpus::is_corpus(fs_, path), InvalidArgument, "a corpus '{}' exists already in {}",
             name, root_.string());
  return Corpus::create(path, {.fs = &fs_});
}

std::unique_ptr<FileLock> Corpora::lock(std::string_view name) const {
  const std::filesystem::path path = path_of(name);
  OB_REQUIRE(Corpus::is_corpus(fs_, path), NotFound, "no corpus is called '{}' in {}", name,
             root_.string());
  auto held = fs_.try_lock(path / "lock", fmt::format("process {}", ::getpid()));
  OB_REQUIRE(held != nullptr, Io, "corpus {} is being written by another offbook; wait for it",
             path.string());
  return held;
}

void Corpora::rename(std::string_view from, std::string_view to) const {
  const std::filesystem::path target = path_of(to);
  const auto held = lock(from);
  OB_REQUIRE(!fs_.stat(target), InvalidArgument, "'{}' exists already in {}", to, root_.string());
  fs_.rename(path_of(from), target);
  fs_.sync_directory(root_);
}

void Corpora::remove(std::string_view name) const {
  const auto held = lock(name);
  // Renamed first: a stop in the middle leaves no half corpus under the name.
  const auto trash = root_ / fmt::format(".removed-{}-{}", name, ::getpid());
  fs_.rename(path_of(name), trash);
  fs_.sync_directory(root_);
  remove_tree(fs_, trash);
}

}  // namespace offbook::store
