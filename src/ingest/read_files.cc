#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <thread>

#include "src/ingest/file_bytes.h"
#include "src/ingest/folder.h"
#include "src/ingest/reader.h"

namespace offbook::ingest {
namespace {

FileOutcome read_one(const std::filesystem::path& path, const FoundFile& file,
                     const ReadOptions& options,
                     const std::function<std::vector<Passage>(const Document&)>& cut) {
  try {
    const FileBytes source = read_file_bytes(path, file.path, options.limits.max_file_bytes);
    ReadResult result = read_document(
        {.path = file.path, .bytes = source.bytes, .modified_ns = source.modified_ns}, options);
    if (cut) {
      result.passages = cut(result.document);
    }
    return result;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::Cancelled) {
      throw;
    }
    return ReportEntry{file.path, error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return ReportEntry{file.path, ErrorCode::OutOfMemory,
                       fmt::format("{}: no memory to read it", file.path)};
  }
}

// Threads that take files in order, a bounded stretch ahead of the one that is waited for. Threads
// of its own, not the compute pool's: they spend their time waiting for files and child processes.
class ReadAhead {
 public:
  ReadAhead(const std::filesystem::path& root, const std::vector<FoundFile>& files,
            const ReadFilesOptions& options)
      : root_(root),
        root_is_file_(std::filesystem::is_regular_file(root)),
        files_(files),
        options_(options),
        read_options_(options.read),
        outcomes_(files.size()) {
    read_options_.stop = stop_children_.get_token();
    const int wanted = options.threads > 0
                           ? options.threads
                           : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    window_ = static_cast<size_t>(wanted) * 4;
    for (int i = 0; i < std::min<int>(wanted, static_cast<int>(files.size())); ++i) {
      threads_.emplace_back([this] { work(); });
    }
  }

  ~ReadAhead() {
    stop_children_.request_stop();
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // The outcome of file `index`; to be asked for in order. Rethrows what is no file's own fault.
  FileOutcome take(size_t index) {
    const auto require_going_on = [&] {
      OB_REQUIRE(!options_.stop.stop_requested(), Cancelled, "stopped after {} of {} files", index,
                 files_.size());
    };
    std::unique_lock lock(mutex_);
    require_going_on();
    while (!outcomes_[index] && !failure_) {
      require_going_on();
      changed_.wait_for(lock, std::chrono::milliseconds(50));
    }
    if (failure_) {
      std::rethrow_exception(failure_);
    }
    FileOutcome out = *std::move(outcomes_[index]);
    outcomes_[index].reset();
    in_flight_bytes_ -= files_[index].size_bytes;
    taken_ = index + 1;
    changed_.notify_all();
    return out;
  }

 private:
  bool may_start() const {
    const bool is_waited_for = next_ == taken_;
    return next_ < taken_ + window_ &&
           (is_waited_for ||
            in_flight_bytes_ + files_[next_].size_bytes <= options_.max_bytes_in_flight);
  }

  std::optional<size_t> claim() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closing_ || next_ == files_.size() || may_start(); });
    if (closing_ || next_ == files_.size()) {
      return std::nullopt;
    }
    in_flight_bytes_ += files_[next_].size_bytes;
    return next_++;
  }

  void work() noexcept {
    while (const auto index = claim()) {
      std::optional<FileOutcome> outcome;
      std::exception_ptr failure;
      try {
        const FoundFile& file = files_[*index];
        outcome =
            read_one(root_is_file_ ? root_ : root_ / file.path, file, read_options_, options_.cut);
      } catch (...) {
        failure = std::current_exception();
      }
      const std::lock_guard lock(mutex_);
      outcomes_[*index] = std::move(outcome);
      failure_ = failure_ ? failure_ : failure;
      changed_.notify_all();
    }
  }

  const std::filesystem::path root_;
  const bool root_is_file_;
  const std::vector<FoundFile>& files_;
  const ReadFilesOptions& options_;
  ReadOptions read_options_;
  std::stop_source stop_children_;
  size_t window_ = 0;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<std::optional<FileOutcome>> outcomes_;
  std::exception_ptr failure_;
  size_t next_ = 0;   // first file that nobody has claimed
  size_t taken_ = 0;  // files handed out by take()
  uint64_t in_flight_bytes_ = 0;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

void read_files(const std::filesystem::path& root, const std::vector<FoundFile>& files,
                const ReadFilesOptions& options,
                const std::function<void(const FoundFile&, FileOutcome)>& sink) {
  Progress progress{.files_total = files.size()};
  for (const FoundFile& file : files) {
    progress.bytes_total += file.size_bytes;
  }
  ReadAhead ahead(root, files, options);
  for (size_t i = 0; i < files.size(); ++i) {
    sink(files[i], ahead.take(i));
    ++progress.files_done;
    progress.bytes_done += files[i].size_bytes;
    if (options.on_progress) {
      options.on_progress(progress);
    }
  }
}

}  // namespace offbook::ingest
