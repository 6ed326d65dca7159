// The one error type of offbook, and the check for our own bugs.
#pragma once
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace offbook {

// What kind of failure it was. The CLI maps a code to an exit status and the server to an HTTP
// status, each in one place. The numbers are exit statuses and never change.
enum class ErrorCode {
  InvalidArgument = 2,  // the caller asked for something that cannot be
  NotFound = 3,         // a file, corpus, document or tensor that is not there
  Corrupt = 4,          // bytes that contradict themselves, a checksum or the file's size
  Unsupported = 5,      // well formed, but not something this build or version can do
  OutOfMemory = 6,      // host or device memory, or the asked limit
  Io = 7,               // the operating system refused: disk full, permission, lock
  Cancelled = 8,        // Ctrl-C or a deadline; the state on disk is resumable
  DeviceLost = 9,       // the accelerator failed; the process lives on
};

std::string_view to_string(ErrorCode code) noexcept;

// An error with a message that names the operation, what was wanted, what came and, for files, path
// and offset. Callers on the way up may put what they were doing in front of it.
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message, const char* file, int line)
      : code_(code), message_(std::move(message)), file_(file), line_(line) {}

  ErrorCode code() const noexcept { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }
  // Where it was thrown, for logs; not part of the message.
  const char* file() const noexcept { return file_; }
  int line() const noexcept { return line_; }

  // Puts "context: " in front of the message. Use as `catch (Error& e) { e.add_context(…); throw; }`.
  Error& add_context(std::string_view context);

 private:
  ErrorCode code_;
  std::string message_;
  const char* file_;
  int line_;
};

namespace internal {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}

}  // namespace offbook

// Throws offbook::Error. The rest of the arguments are a fmt format string and its values. A macro
// because clang 14 has no usable std::source_location with this libstdc++.
#define OB_THROW(code, ...) \
  throw ::offbook::Error(::offbook::ErrorCode::code, ::fmt::format(__VA_ARGS__), __FILE__, __LINE__)

// Throws offbook::Error(code) unless the condition holds.
#define OB_REQUIRE(condition, code, ...) \
  do {                                   \
    if (!(condition)) {                  \
      OB_THROW(code, __VA_ARGS__);       \
    }                                    \
  } while (false)

// For bugs of our own: always on, and unreachable from any input. Throws std::logic_error.
#define OB_CHECK(condition)                                                   \
  do {                                                                        \
    if (!(condition)) {                                                       \
      ::offbook::internal::check_failed(#condition, __FILE__, __LINE__);      \
    }                                                                         \
  } while (false)
