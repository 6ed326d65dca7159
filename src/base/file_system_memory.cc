#include "src/base/file_system_memory.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "src/base/error.h"

namespace offbook {
namespace {

namespace stdfs = std::filesystem;
constexpr uint64_t kSector = 512;
using Bytes = std::vector<std::byte>;

std::string key(const stdfs::path& path) {
  std::string text = path.lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') {
    text.pop_back();
  }
  return text;
}

std::string parent(const std::string& path) {
  const std::string up = stdfs::path(path).parent_path().string();
  return up.empty() ? "." : up;
}

struct Change {  // of a file's content, not synced yet
  uint64_t offset = 0;
  Bytes bytes;
  bool is_truncate = false;  // to `offset`
};

void put(Bytes& content, uint64_t offset, std::span<const std::byte> bytes) {
  if (content.size() < offset + bytes.size()) {
    content.resize(offset + bytes.size());
  }
  std::copy(bytes.begin(), bytes.end(), content.begin() + static_cast<ptrdiff_t>(offset));
}

// Which of the things a cut may lose are kept: none, some or all, so that extremes are seen too.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  void throw_odds() { kept_of_four_ = random_() % 5; }
  bool keep() { return random_() % 4 < kept_of_four_; }

 private:
  std::mt19937_64 random_;
  uint64_t kept_of_four_ = 2;
};

void apply_some(Bytes& content, const Change& change, Dice& dice) {
  if (change.is_truncate) {
    if (dice.keep()) {
      content.resize(change.offset);
    }
    return;
  }
  const std::span<const std::byte> bytes = change.bytes;
  for (uint64_t at = 0; at < bytes.size();) {
    const uint64_t n = std::min(kSector - (change.offset + at) % kSector, bytes.size() - at);
    if (dice.keep()) {
      put(content, change.offset + at, bytes.subspan(at, n));
    }
    at += n;
  }
}

class SnapshotFile final : public ReadableFile {
 public:
  explicit SnapshotFile(Bytes bytes) : bytes_(std::move(bytes)) {}
  std::span<const std::byte> bytes() const noexcept override { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace

struct MemoryFileSystem::Node {
  uint64_t inode = 0;
  Bytes content;
  Bytes durable;
  std::vector<Change> pending;
};

struct MemoryFileSystem::NameChange {
  std::string from;            // removed, unless empty
  std::string to;              // made or replaced, unless empty
  std::shared_ptr<Node> node;  // what `to` names
  std::string directory;       // whose sync makes it durable
};

// One open file; both kinds of handle, since both write through the same rules.
class MemoryFileSystem::Handle final : public WritableFile, public RandomAccessFile {
 public:
  Handle(MemoryFileSystem& fs, std::shared_ptr<Node> node, std::string path)
      : fs_(fs), node_(std::move(node)), path_(std::move(path)), epoch_(fs.epoch_) {}

  void append(std::span<const std::byte> bytes) override {
    std::scoped_lock lock(fs_.mutex_);
    begin("write");
    fs_.write(*node_, node_->content.size(), bytes);
  }
  void write_at(uint64_t offset, std::span<const std::byte> bytes) override {
    std::scoped_lock lock(fs_.mutex_);
    begin("write");
    fs_.write(*node_, offset, bytes);
  }
  void truncate(uint64_t size_bytes) override {
    std::scoped_lock lock(fs_.mutex_);
    begin("truncate");
    node_->content.resize(size_bytes);
    node_->pending.push_back({.offset = size_bytes, .bytes = {}, .is_truncate = true});
  }
  void sync() override {
    std::scoped_lock lock(fs_.mutex_);
    begin("sync");
    if (fs_.faults_.sync_lies) {
      return;
    }
    node_->durable = node_->content;
    node_->pending.clear();
  }
  size_t read_at(uint64_t offset, std::span<std::byte> out) override {
    std::scoped_lock lock(fs_.mutex_);
    require_alive("read");
    const uint64_t size = node_->content.size();
    const size_t n = offset >= size ? 0 : std::min<uint64_t>(out.size(), size - offset);
    std::copy_n(node_->content.begin() + static_cast<ptrdiff_t>(n == 0 ? 0 : offset), n,
                out.begin());
    return n;
  }
  uint64_t size_bytes() override {
    std::scoped_lock lock(fs_.mutex_);
    require_alive("size of");
    return node_->content.size();
  }

 private:
  void require_alive(std::string_view operation) const {
    OB_REQUIRE(epoch_ == fs_.epoch_, Io, "{} {}: the power was cut", operation, path_);
  }
  void begin(std::string_view operation) {
    require_alive(operation);
    fs_.begin_change(operation, path_);
  }

  MemoryFileSystem& fs_;
  std::shared_ptr<Node> node_;
  std::string path_;
  uint64_t epoch_;
};

class MemoryFileSystem::Lock final : public FileLock {
 public:
  Lock(MemoryFileSystem& fs, std::string path)
      : fs_(fs), path_(std::move(path)), epoch_(fs.epoch_) {}
  ~Lock() override {
    std::scoped_lock lock(fs_.mutex_);
    if (epoch_ == fs_.epoch_) {
      fs_.locked_.erase(path_);
    }
  }

 private:
  MemoryFileSystem& fs_;
  std::string path_;
  uint64_t epoch_;
};

MemoryFileSystem::MemoryFileSystem() {
  names_["/"] = durable_["/"] = nullptr;
  names_["."] = durable_["."] = nullptr;
}

MemoryFileSystem::~MemoryFileSystem() = default;

void MemoryFileSystem::set_faults(MemoryFaults faults) {
  std::scoped_lock lock(mutex_);
  faults_ = faults;
}

uint64_t MemoryFileSystem::operations() const {
  std::scoped_lock lock(mutex_);
  return operations_;
}

void MemoryFileSystem::begin_change(std::string_view operation, const std::string& path) {
  OB_REQUIRE(!faults_.read_only, Io, "{} {}: Read-only file system", operation, path);
  const uint64_t number = operations_++;
  const bool fails = faults_.fail_at && (number == *faults_.fail_at ||
                                         (faults_.fail_ever_after && number > *faults_.fail_at));
  OB_REQUIRE(!fails, Io, "{} {}: Input/output error", operation, path);
}

uint64_t MemoryFileSystem::used_bytes() const {
  uint64_t used = 0;
  for (const auto& [path, node] : names_) {
    used += node ? node->content.size() : 0;
  }
  return used;
}

// A full disk takes what still fits and then refuses, as write(2) does.
void MemoryFileSystem::write(Node& node, uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t old_size = node.content.size();
  const uint64_t growth = offset + bytes.size() > old_size ? offset + bytes.size() - old_size : 0;
  const uint64_t used = growth == 0 ? 0 : used_bytes();
  const uint64_t room = faults_.capacity_bytes > used ? faults_.capacity_bytes - used : 0;
  const bool is_full = growth > room;
  if (is_full) {
    const uint64_t end = old_size + room;
    bytes = bytes.first(end > offset ? std::min<uint64_t>(end - offset, bytes.size()) : 0);
  }
  if (!bytes.empty()) {
    put(node.content, offset, bytes);
    node.pending.push_back({.offset = offset, .bytes = Bytes(bytes.begin(), bytes.end())});
  }
  OB_REQUIRE(!is_full, Io, "write: No space left on device");
}

void MemoryFileSystem::apply(const NameChange& change, Names& names) {
  if (!change.from.empty()) {
    names.erase(change.from);
  }
  if (!change.to.empty()) {
    names[change.to] = change.node;
  }
}

void MemoryFileSystem::change_name(NameChange change) {
  change.directory = parent(change.to.empty() ? change.from : change.to);
  apply(change, names_);
  pending_.push_back(std::move(change));
}

void MemoryFileSystem::require_directory(const std::string& path) const {
  const auto it = names_.find(path);
  OB_REQUIRE(it != names_.end(), NotFound, "directory {}: No such file or directory", path);
  OB_REQUIRE(it->second == nullptr, Io, "{}: Not a directory", path);
}

void MemoryFileSystem::power_cut(uint64_t seed) {
  std::scoped_lock lock(mutex_);
  Dice dice(seed);
  dice.throw_odds();
  for (const NameChange& change : pending_) {
    if (dice.keep()) {
      apply(change, durable_);
    }
  }
  std::set<Node*> done;
  for (const auto& [path, node] : durable_) {
    if (node && done.insert(node.get()).second) {
      dice.throw_odds();
      for (const Change& change : node->pending) {
        apply_some(node->durable, change, dice);
      }
      node->pending.clear();
      node->content = node->durable;
    }
  }
  names_ = durable_;
  pending_.clear();
  locked_.clear();
  faults_ = {};
  ++epoch_;
}

std::unique_ptr<RandomAccessFile> MemoryFileSystem::open_random(const stdfs::path& path,
                                                                bool create) {
  std::scoped_lock lock(mutex_);
  const std::string name = key(path);
  const auto it = names_.find(name);
  if (it != names_.end()) {
    OB_REQUIRE(it->second != nullptr, Io, "open {}: Is a directory", name);
    return std::make_unique<Handle>(*this, it->second, name);
  }
  OB_REQUIRE(create, NotFound, "open {}: No such file or directory", name);
  require_directory(parent(name));
  begin_change("create", name);
  auto node = std::make_shared<Node>();
  node->inode = next_inode_++;
  change_name({.from = {}, .to = name, .node = node});
  return std::make_unique<Handle>(*this, std::move(node), name);
}

std::unique_ptr<ReadableFile> MemoryFileSystem::open(const stdfs::path& path) {
  std::scoped_lock lock(mutex_);
  const auto it = names_.find(key(path));
  OB_REQUIRE(it != names_.end(), NotFound, "open {}: No such file or directory", path.string());
  OB_REQUIRE(it->second != nullptr, Io, "open {}: not a regular file", path.string());
  return std::make_unique<SnapshotFile>(it->second->content);
}

std::unique_ptr<WritableFile> MemoryFileSystem::create(const stdfs::path& path) {
  auto random = open_random(path, true);
  std::unique_ptr<Handle> handle(static_cast<Handle*>(random.release()));
  if (handle->size_bytes() > 0) {
    handle->truncate(0);
  }
  return handle;
}

std::optional<FileInfo> MemoryFileSystem::stat(const stdfs::path& path) {
  std::scoped_lock lock(mutex_);
  const auto it = names_.find(key(path));
  if (it == names_.end()) {
    return std::nullopt;
  }
  if (!it->second) {
    return FileInfo{.is_directory = true};
  }
  return FileInfo{.size_bytes = it->second->content.size(), .inode = it->second->inode};
}

std::vector<std::string> MemoryFileSystem::list(const stdfs::path& directory) {
  std::scoped_lock lock(mutex_);
  const std::string above = key(directory);
  require_directory(above);
  std::vector<std::string> found;
  for (const auto& [path, node] : names_) {
    if (path != above && parent(path) == above) {
      found.push_back(stdfs::path(path).filename().string());
    }
  }
  return found;
}

void MemoryFileSystem::create_directories(const stdfs::path& path) {
  std::scoped_lock lock(mutex_);
  for (stdfs::path at; const stdfs::path& part : stdfs::path(key(path))) {
    at /= part;
    const auto it = names_.find(at.string());
    if (it == names_.end()) {
      begin_change("create directory", at.string());
      names_[at.string()] = durable_[at.string()] = nullptr;
    } else {
      OB_REQUIRE(it->second == nullptr, Io, "create directory {}: a file stands there",
                 at.string());
    }
  }
}

void MemoryFileSystem::rename(const stdfs::path& from, const stdfs::path& to) {
  std::scoped_lock lock(mutex_);
  const auto it = names_.find(key(from));
  OB_REQUIRE(it != names_.end(), NotFound, "rename {}: No such file or directory", from.string());
  OB_REQUIRE(it->second != nullptr, Io, "rename {}: directories cannot be renamed here",
             from.string());
  require_directory(parent(key(to)));
  begin_change("rename", key(from));
  change_name({.from = key(from), .to = key(to), .node = it->second});
}

void MemoryFileSystem::remove(const stdfs::path& path) {
  std::scoped_lock lock(mutex_);
  const auto it = names_.find(key(path));
  OB_REQUIRE(it != names_.end(), NotFound, "remove {}: No such file or directory", path.string());
  begin_change("remove", key(path));
  change_name({.from = key(path), .to = {}, .node = nullptr});
}

void MemoryFileSystem::sync_directory(const stdfs::path& path) {
  std::scoped_lock lock(mutex_);
  require_directory(key(path));
  begin_change("sync directory", key(path));
  std::erase_if(pending_, [&](const NameChange& change) {
    const bool is_inside = change.directory == key(path);
    if (is_inside) {
      apply(change, durable_);
    }
    return is_inside;
  });
}

uint64_t MemoryFileSystem::free_bytes(const stdfs::path&) {
  std::scoped_lock lock(mutex_);
  const uint64_t used = used_bytes();
  return faults_.capacity_bytes > used ? faults_.capacity_bytes - used : 0;
}

std::unique_ptr<FileLock> MemoryFileSystem::try_lock(const stdfs::path& path,
                                                     std::string_view note) {
  const std::string name = key(path);
  {
    std::scoped_lock lock(mutex_);
    if (locked_.contains(name)) {
      return nullptr;
    }
  }
  create(path)->append(std::as_bytes(std::span(note)));
  std::scoped_lock lock(mutex_);
  return locked_.insert(name).second ? std::make_unique<Lock>(*this, name) : nullptr;
}

}  // namespace offbook
