#include "src/store/transfer.h"

#include <set>

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include "src/store/check.h"
#include "src/store/hash.h"
#include "src/store/schema.h"

namespace offbook::store {
namespace {

namespace stdfs = std::filesystem;

struct WriterDeleter {
  void operator()(archive* a) const { archive_write_free(a); }
};
struct ReaderDeleter {
  void operator()(archive* a) const { archive_read_free(a); }
};
struct EntryDeleter {
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};
using Entry = std::unique_ptr<archive_entry, EntryDeleter>;

// Removes a directory when the work in it ends, however it ends.
class ScratchDirectory {
 public:
  ScratchDirectory(FileSystem& fs, stdfs::path path) : fs_(fs), path_(std::move(path)) {
    remove_tree(fs_, path_);
    fs_.create_directories(path_);
  }
  ~ScratchDirectory() {
    try {
      remove_tree(fs_, path_);
    } catch (const Error&) {
      // Found and named by `offbook corpora` as a hidden directory; the work's own error says more.
    }
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const stdfs::path& path() const { return path_; }

 private:
  FileSystem& fs_;
  stdfs::path path_;
};

class ArchiveWriter {
 public:
  ArchiveWriter(FileSystem& fs, const stdfs::path& path)
      : file_(fs.create(path)), archive_(archive_write_new()) {
    require(archive_write_add_filter_zstd(archive_.get()));
    require(archive_write_set_format_pax_restricted(archive_.get()));
    // Without this libarchive pads behind the last zstd frame, which its own reader then refuses.
    require(archive_write_set_bytes_in_last_block(archive_.get(), 1));
    require(archive_write_open(archive_.get(), this, nullptr, on_write, nullptr));
  }
  void add(const std::string& name, std::span<const std::byte> bytes) {
    const Entry entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_size(entry.get(), static_cast<int64_t>(bytes.size()));
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0600);
    require(archive_write_header(archive_.get(), entry.get()));
    while (!bytes.empty()) {
      const la_ssize_t n = archive_write_data(archive_.get(), bytes.data(), bytes.size());
      require(n > 0 ? ARCHIVE_OK : ARCHIVE_FATAL);
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  }
  void finish() {
    require(archive_write_close(archive_.get()));
    file_->sync();
  }

 private:
  static la_ssize_t on_write(archive*, void* self, const void* data, size_t size) {
    auto& writer = *static_cast<ArchiveWriter*>(self);
    try {
      writer.file_->append({static_cast<const std::byte*>(data), size});
      return static_cast<la_ssize_t>(size);
    } catch (const Error& e) {  // must not cross libarchive's C frames
      writer.error_ = e;
      return -1;
    }
  }
  void require(int code) {
    if (error_) {
      throw Error(*error_);
    }
    OB_REQUIRE(code == ARCHIVE_OK, Io, "write an archive: {}",
               archive_error_string(archive_.get()) ? archive_error_string(archive_.get()) : "");
  }

  std::unique_ptr<WritableFile> file_;
  std::optional<Error> error_;
  std::unique_ptr<archive, WriterDeleter> archive_;  // last: it writes when freed
};

std::string artefact_name(const std::string& id) {
  return "artefacts/" + id.substr(0, 2) + "/" + id + ".ob";
}

// The id when the name is exactly that of an artefact, else empty.
std::string artefact_in(const std::string& name) {
  const std::string id = name.size() == 48 ? name.substr(13, 32) : "";
  return is_hex_digest(id) && name == artefact_name(id) ? id : "";
}

class Importer {
 public:
  Importer(FileSystem& fs, const stdfs::path& file, const ImportLimits& limits)
      : fs_(fs), file_(file), limits_(limits), archive_(archive_read_new()) {
    archive_read_support_filter_zstd(archive_.get());
    archive_read_support_format_tar(archive_.get());
    OB_REQUIRE(archive_read_open_filename(archive_.get(), file.c_str(), 1 << 16) == ARCHIVE_OK,
               Corrupt, "{}: not an exported corpus: {}", file.string(), reason());
  }

  void unpack(const stdfs::path& into) {
    left_ = std::min(limits_.max_bytes, fs_.free_bytes(into));
    archive_entry* entry = nullptr;
    int code = ARCHIVE_OK;
    while ((code = archive_read_next_header(archive_.get(), &entry)) == ARCHIVE_OK) {
      const char* raw = archive_entry_pathname(entry);
      const std::string name = raw != nullptr ? raw : "";
      OB_REQUIRE(archive_entry_filetype(entry) == AE_IFREG &&
                     archive_entry_hardlink(entry) == nullptr &&
                     (name == "corpus.db" || !artefact_in(name).empty()),
                 Corrupt, "{}: entry '{}' does not belong into a corpus", file_.string(),
                 name.substr(0, 200));
      OB_REQUIRE(seen_.insert(name).second && std::ssize(seen_) <= limits_.max_files, Corrupt,
                 "{}: entry '{}' comes twice, or there are more than {}", file_.string(), name,
                 limits_.max_files);
      unpack_entry(into / name, name);
    }
    OB_REQUIRE(code == ARCHIVE_EOF, Corrupt, "{}: {}", file_.string(), reason());
    OB_REQUIRE(seen_.contains("corpus.db"), Corrupt, "{}: holds no corpus.db", file_.string());
  }

 private:
  const char* reason() const {
    const char* text = archive_error_string(archive_.get());
    return text != nullptr ? text : "unreadable";
  }

  void unpack_entry(const stdfs::path& path, const std::string& name) {
    fs_.create_directories(path.parent_path());
    {
      const auto out = fs_.create(path);
      std::vector<std::byte> block(1 << 18);
      la_ssize_t n = 0;
      while ((n = archive_read_data(archive_.get(), block.data(), block.size())) > 0) {
        OB_REQUIRE(static_cast<uint64_t>(n) <= left_, Io,
                   "{}: unpacks to more than the limit of {} bytes or the disk's free space",
                   file_.string(), limits_.max_bytes);
        left_ -= static_cast<uint64_t>(n);
        out->append(std::span(block).first(static_cast<size_t>(n)));
      }
      OB_REQUIRE(n == 0, Corrupt, "{}: entry '{}': {}", file_.string(), name, reason());
      out->sync();
    }
    const std::string id = artefact_in(name);
    if (!id.empty()) {
      const std::shared_ptr<const ReadableFile> unpacked = fs_.open(path);
      decode_artefact(unpacked, name);
      OB_REQUIRE(artefact_id(unpacked->bytes()) == id, Corrupt,
                 "{}: entry '{}' holds another artefact", file_.string(), name);
    }
  }

  FileSystem& fs_;
  stdfs::path file_;
  ImportLimits limits_;
  std::unique_ptr<archive, ReaderDeleter> archive_;
  std::set<std::string> seen_;
  uint64_t left_ = 0;
};

// Type, name and text of everything a schema holds; SQLite's own tables left out.
std::set<std::string> schema_of(Database& db) {
  std::set<std::string> entries;
  Query q = db.query(
      "SELECT type, name, coalesce(sql, '') FROM sqlite_master "
      "WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'");
  while (q.step()) {
    entries.insert(q.string(0) + " " + q.string(1) + " " + q.string(2));
  }
  return entries;
}

// A schema is code: only exactly our own is run. Checked before anything else is asked of it.
void check_database(const stdfs::path& corpus, const stdfs::path& fresh) {
  Database expected({.path = fresh, .create = true});
  bring_up_to_date(expected, migrations());
  Database db({.path = corpus / "corpus.db"});
  db.execute("PRAGMA trusted_schema = OFF");
  OB_REQUIRE(db.integer("PRAGMA user_version") <= std::ssize(migrations()), Unsupported,
             "the imported corpus has a newer format; use a newer offbook");
  bring_up_to_date(db, migrations());
  OB_REQUIRE(schema_of(db) == schema_of(expected), Corrupt,
             "the imported database has tables, views or triggers that are not a corpus's");
}

}  // namespace

void export_corpus(Corpus& corpus, const stdfs::path& file) {
  FileSystem& fs = real_file_system();
  const stdfs::path folder = file.has_parent_path() ? file.parent_path() : stdfs::path(".");
  const ScratchDirectory scratch(fs, folder / fmt::format(".export-{}", ::getpid()));
  const stdfs::path copy = scratch.path() / "corpus.db";
  corpus.db().run("VACUUM INTO ?1", copy.string());  // one read transaction, nothing deleted in it
  const stdfs::path packed = scratch.path() / "packed";
  ArchiveWriter writer(fs, packed);
  writer.add("corpus.db", fs.open(copy)->bytes());
  Database snapshot({.path = copy, .is_read_only = true});
  for (const std::string& id : referenced_artefacts(snapshot)) {
    writer.add(artefact_name(id), fs.open(corpus.artefacts().path_of(id))->bytes());
  }
  writer.finish();
  fs.rename(packed, file);
  fs.sync_directory(folder);
}

void import_corpus(const stdfs::path& root, const std::string& name, const stdfs::path& file,
                   const ImportLimits& limits) {
  FileSystem& fs = real_file_system();
  const stdfs::path target = Corpora(root).path_of(name);
  OB_REQUIRE(!fs.stat(target), InvalidArgument, "'{}' exists already in {}", name, root.string());
  OB_REQUIRE(fs.stat(file), NotFound, "{}: no such file", file.string());
  const ScratchDirectory scratch(fs, root / fmt::format(".import-{}-{}", name, ::getpid()));
  const stdfs::path corpus = scratch.path() / "corpus";
  fs.create_directories(corpus / "artefacts");
  Importer(fs, file, limits).unpack(corpus);
  check_database(corpus, scratch.path() / "fresh.db");
  {
    Corpus imported = Corpus::open(corpus, {.access = Access::write});
    const CheckReport report = check(imported, false);
    OB_REQUIRE(report.is_sound(), Corrupt, "{}: {}", file.string(), report.findings.front().what);
  }
  fs.rename(corpus, target);
  fs.sync_directory(root);
}

}  // namespace offbook::store
