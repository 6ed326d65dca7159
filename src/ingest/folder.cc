#include "src/ingest/folder.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include <sys/stat.h>

#include "src/ingest/content_hash.h"
#include "src/ingest/file_bytes.h"
#include "src/ingest/reader.h"

namespace offbook::ingest {
namespace {

namespace stdfs = std::filesystem;

// Matches within one pattern; recursion only at '*', which is rare and short.
bool glob_match(std::string_view glob, std::string_view text) {
  while (!glob.empty()) {
    if (glob[0] == '*') {
      const bool crosses = glob.starts_with("**");
      std::string_view rest = glob.substr(crosses ? 2 : 1);
      if (crosses && rest.starts_with("/") && glob_match(rest.substr(1), text)) {
        return true;  // "**/x" matches "x" too
      }
      for (size_t i = 0;; ++i) {
        if (glob_match(rest, text.substr(i))) {
          return true;
        }
        if (i == text.size() || (text[i] == '/' && !crosses)) {
          return false;
        }
      }
    }
    if (text.empty() || (glob[0] == '?' ? text[0] == '/' : glob[0] != text[0])) {
      return false;
    }
    glob.remove_prefix(1);
    text.remove_prefix(1);
  }
  return text.empty();
}

FoundFile found(std::string path, const struct stat& st) {
  return {.path = std::move(path),
          .size_bytes = static_cast<uint64_t>(st.st_size),
          .modified_ns = int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec};
}

class FolderWalker {
 public:
  FolderWalker(const stdfs::path& root, const FolderOptions& options)
      : root_(stdfs::canonical(root)), options_(options) {}

  FolderListing walk() {
    pending_.push_back("");
    while (!pending_.empty()) {
      const std::string directory = std::move(pending_.back());
      pending_.pop_back();
      list(directory);
    }
    const auto by_path = [](const auto& a, const auto& b) { return a.path < b.path; };
    std::sort(out_.files.begin(), out_.files.end(), by_path);
    std::sort(out_.skipped.begin(), out_.skipped.end(), by_path);
    return std::move(out_);
  }

 private:
  // Are all names on the path shown and not ignored?
  bool is_listed(const std::string& path) const {
    const bool hidden = path.starts_with('.') || path.find("/.") != std::string::npos;
    return (options_.include_hidden || !hidden) &&
           std::none_of(options_.ignore.begin(), options_.ignore.end(),
                        [&](const std::string& glob) { return matches_glob(glob, path); });
  }

  void skip(const std::string& path, ErrorCode code, std::string_view message) {
    out_.skipped.push_back({path, code, fmt::format("{}: {}", path, message)});
  }

  void list(const std::string& directory) {
    std::error_code error;
    stdfs::directory_iterator it(root_ / directory, error), end;
    for (; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      visit(directory.empty() ? name : directory + "/" + name);
    }
    if (error) {
      skip(directory.empty() ? "." : directory, ErrorCode::Io, error.message());
    }
  }

  void visit(const std::string& path) {
    if (!is_listed(path)) {
      return;
    }
    struct stat st;
    if (::lstat((root_ / path).c_str(), &st) != 0) {
      skip(path, ErrorCode::Io, std::strerror(errno));
    } else if (S_ISDIR(st.st_mode)) {
      pending_.push_back(path);
    } else if (S_ISLNK(st.st_mode)) {
      visit_link(path);
    } else if (S_ISREG(st.st_mode)) {
      add(path, st);
    } else {
      skip(path, ErrorCode::Unsupported, "is no regular file (a pipe, socket or device)");
    }
  }

  void visit_link(const std::string& path) {
    std::error_code error;
    const stdfs::path target = stdfs::canonical(root_ / path, error);
    struct stat st;
    if (error || ::stat(target.c_str(), &st) != 0) {
      skip(path, ErrorCode::NotFound, "is a link to a file that is not there");
      return;
    }
    const std::string inside = target.lexically_relative(root_).generic_string();
    if (inside.empty() || inside == ".." || inside.starts_with("../")) {
      skip(path, ErrorCode::Unsupported, "is a link out of the folder, which is not followed");
    } else if (S_ISREG(st.st_mode) && !is_listed(inside)) {
      add(path, st);
    }
  }

  void add(const std::string& path, const struct stat& st) {
    if (format_of_name(path) == nullptr) {
      skip(path, ErrorCode::Unsupported, "is of a kind that is not read");
    } else {
      out_.files.push_back(found(path, st));
    }
  }

  stdfs::path root_;
  const FolderOptions& options_;
  std::vector<std::string> pending_;
  FolderListing out_;
};

// Is the content still the one that was learned? False where it cannot be read.
bool has_content(const stdfs::path& path, const KnownFile& known) {
  try {
    return hash_bytes(read_file_bytes(path, known.path, known.size_bytes).bytes) ==
           known.content_hash;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

bool matches_glob(std::string_view glob, std::string_view path) {
  if (glob.ends_with('/')) {
    glob.remove_suffix(1);
  }
  if (glob.find('/') != std::string_view::npos) {
    if (glob.starts_with('/')) {
      glob.remove_prefix(1);
    }
    return glob_match(glob, path);
  }
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    if (glob_match(glob, path.substr(0, slash))) {
      return true;
    }
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return false;
}

FolderListing list_folder(const stdfs::path& root, const FolderOptions& options) {
  struct stat st;
  if (::stat(root.c_str(), &st) != 0) {
    OB_REQUIRE(errno != ENOENT && errno != ENOTDIR, NotFound, "no folder {}", root.string());
    OB_THROW(Io, "folder {}: {}", root.string(), std::strerror(errno));
  }
  if (S_ISREG(st.st_mode)) {
    return {.files = {found(root.filename().string(), st)}, .skipped = {}};
  }
  OB_REQUIRE(S_ISDIR(st.st_mode), InvalidArgument, "{} is neither a folder nor a file",
             root.string());
  FolderListing listing = FolderWalker(root, options).walk();
  const bool unreadable = !listing.skipped.empty() && listing.skipped.front().path == ".";
  OB_REQUIRE(!unreadable, Io, "folder {}: {}", root.string(), listing.skipped.front().message);
  return listing;
}

FolderChanges compare_folder(const stdfs::path& root, std::vector<FoundFile> found_files,
                             std::vector<KnownFile> known, std::stop_token stop) {
  std::map<std::string, KnownFile> by_path;
  for (KnownFile& file : known) {
    std::string path = file.path;
    by_path.emplace(std::move(path), std::move(file));
  }
  const bool is_file = stdfs::is_regular_file(root);
  FolderChanges changes;
  for (FoundFile& file : found_files) {
    OB_REQUIRE(!stop.stop_requested(), Cancelled, "stopped while comparing {}", root.string());
    const auto it = by_path.find(file.path);
    if (it == by_path.end()) {
      changes.added.push_back(std::move(file));
      continue;
    }
    const KnownFile& before = it->second;
    const bool same = file.size_bytes == before.size_bytes &&
                      (file.modified_ns == before.modified_ns ||
                       has_content(is_file ? root : root / file.path, before));
    (same ? changes.unchanged : changes.changed).push_back(std::move(file));
    by_path.erase(it);
  }
  for (auto& [_, file] : by_path) {
    changes.removed.push_back(std::move(file));
  }
  return changes;
}

}  // namespace offbook::ingest
