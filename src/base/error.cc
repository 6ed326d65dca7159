#include "src/base/error.h"

#include <stdexcept>

namespace offbook {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::InvalidArgument:
      return "invalid argument";
    case ErrorCode::NotFound:
      return "not found";
    case ErrorCode::Corrupt:
      return "corrupt";
    case ErrorCode::Unsupported:
      return "unsupported";
    case ErrorCode::OutOfMemory:
      return "out of memory";
    case ErrorCode::Io:
      return "input/output error";
    case ErrorCode::Cancelled:
      return "cancelled";
    case ErrorCode::DeviceLost:
      return "device lost";
  }
  return "unknown error";
}

Error& Error::add_context(std::string_view context) {
  message_ = fmt::format("{}: {}", context, message_);
  return *this;
}

namespace internal {
void check_failed(const char* condition, const char* file, int line) {
  throw std::logic_error(fmt::format("bug in offbook: {} does not hold at {}:{}", condition, file, line));
}
}  // namespace internal

}  // namespace offbook
