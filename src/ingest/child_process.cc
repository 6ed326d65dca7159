#include "src/ingest/child_process.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/error.h"

namespace offbook::ingest {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kInputFd = 3;  // in the child, behind the three standard ones

[[noreturn]] void fail(const char* operation) {
  OB_THROW(Io, "{}: {}", operation, std::strerror(errno));
}

class Fd {
 public:
  explicit Fd(int fd = -1) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }
  void close() noexcept {
    if (fd_ >= 0) {
      ::close(std::exchange(fd_, -1));
    }
  }
  int get() const noexcept { return fd_; }
  bool is_open() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

struct Pipe {
  Fd read, write;
};

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    fail("make a pipe");
  }
  return {Fd(ends[0]), Fd(ends[1])};
}

Fd memory_file(std::span<const std::byte> bytes) {
  Fd fd(::memfd_create("offbook-input", MFD_CLOEXEC));
  if (!fd.is_open()) {
    fail("make a file in memory");
  }
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd.get(), bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) {
      fail("write a file in memory");
    }
    bytes = bytes.subspan(static_cast<size_t>(std::max<ssize_t>(written, 0)));
  }
  return fd;
}

// Everything the child needs, made before fork: between fork and exec only system calls are safe.
struct Launch {
  const char* program;
  std::vector<char*> arguments;
  int input, output, errors, null;
  rlim_t cpu_seconds, memory_bytes;
  pid_t parent;
};

void limit(int resource, rlim_t value) {
  const rlimit both{value, value};
  ::setrlimit(static_cast<__rlimit_resource_t>(resource), &both);
}

[[noreturn]] void become_child(const Launch& launch) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launch.parent) {
    ::_exit(126);
  }
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::setpgid(0, 0);  // Ctrl-C on the terminal is ours to handle
  // Out of the way of 0…3 first: any of these may be one of them.
  const int input = ::fcntl(launch.input, F_DUPFD, 10);
  const int output = ::fcntl(launch.output, F_DUPFD, 10);
  const int errors = ::fcntl(launch.errors, F_DUPFD, 10);
  const int null = ::fcntl(launch.null, F_DUPFD, 10);
  ::dup2(null, 0);
  ::dup2(output, 1);
  ::dup2(errors, 2);
  ::dup2(input, kInputFd);
  ::syscall(SYS_close_range, kInputFd + 1, ~0U, 0);
  limit(RLIMIT_CPU, launch.cpu_seconds);
  limit(RLIMIT_AS, launch.memory_bytes);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_NOFILE, 64);
  char locale[] = "LC_ALL=C.UTF-8";
  char* environment[] = {locale, nullptr};
  ::execve(launch.program, launch.arguments.data(), environment);
  ::_exit(127);
}

// Kills and reaps on every way out.
class Child {
 public:
  explicit Child(pid_t pid) noexcept : pid_(pid) {}
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill() noexcept { ::kill(pid_, SIGKILL); }
  int wait() noexcept {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_;
};

// Appends what is there; false when the other side closed.
bool drain(const Fd& fd, std::string& out, uint64_t max_bytes) {
  std::array<char, 1 << 16> buffer;
  const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
  if (got < 0) {
    return errno == EINTR || errno == EAGAIN;
  }
  const uint64_t room = max_bytes > out.size() ? max_bytes - out.size() : 0;
  out.append(buffer.data(), std::min<uint64_t>(room, static_cast<uint64_t>(got)));
  return got > 0;
}

// Reads both pipes until they close or a limit is met. True when the child ended by itself.
bool read_output(Pipe& output, Pipe& errors, const ChildOptions& options, ChildResult& result) {
  constexpr int kLookUpMs = 50;  // how soon a request to stop is seen
  constexpr uint64_t kMaxErrorBytes = 4096;
  const auto deadline = Clock::now() + std::chrono::seconds(options.wall_seconds);
  while (output.read.is_open() || errors.read.is_open()) {
    OB_REQUIRE(!options.stop.stop_requested(), Cancelled, "stopped while {} ran",
               options.program.filename().string());
    if (Clock::now() > deadline) {
      result.end = ChildResult::End::timed_out;
      return false;
    }
    std::array<pollfd, 2> polled = {pollfd{output.read.get(), POLLIN, 0},
                                    pollfd{errors.read.get(), POLLIN, 0}};
    if (::poll(polled.data(), polled.size(), kLookUpMs) <= 0) {
      continue;
    }
    // One byte above the limit shows that there was more.
    if (polled[0].revents != 0 &&
        !drain(output.read, result.output, options.max_output_bytes + 1)) {
      output.read.close();
    }
    if (polled[1].revents != 0 && !drain(errors.read, result.errors, kMaxErrorBytes)) {
      errors.read.close();
    }
    if (result.output.size() > options.max_output_bytes) {
      result.end = ChildResult::End::too_much_output;
      return false;
    }
  }
  return true;
}

}  // namespace

ChildResult run_child(const ChildOptions& options) {
  const Fd input = memory_file(options.input);
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Pipe output = make_pipe(), errors = make_pipe();
  const std::string program = options.program.string();
  std::vector<std::string> arguments = {program};
  for (const std::string& argument : options.arguments) {
    arguments.push_back(argument == "{input}" ? fmt::format("/proc/self/fd/{}", kInputFd)
                                              : argument);
  }
  Launch launch{.program = program.c_str(),
                .input = input.get(),
                .output = output.write.get(),
                .errors = errors.write.get(),
                .null = null.get(),
                .cpu_seconds = static_cast<rlim_t>(options.cpu_seconds),
                .memory_bytes = options.memory_bytes,
                .parent = ::getpid()};
  for (std::string& argument : arguments) {
    launch.arguments.push_back(argument.data());
  }
  launch.arguments.push_back(nullptr);

  const pid_t pid = ::fork();
  if (pid < 0) {
    fail("start a process");
  }
  if (pid == 0) {
    become_child(launch);
  }
  Child child(pid);
  output.write.close();
  errors.write.close();
  ChildResult result;
  if (!read_output(output, errors, options, result)) {
    child.kill();
    child.wait();
    return result;
  }
  const int status = child.wait();
  if (WIFSIGNALED(status)) {
    result.end =
        WTERMSIG(status) == SIGXCPU ? ChildResult::End::timed_out : ChildResult::End::signalled;
    result.status = WTERMSIG(status);
  } else {
    result.status = WEXITSTATUS(status);
  }
  return result;
}

std::filesystem::path find_program(const std::filesystem::path& name) {
  if (name.has_parent_path()) {
    return ::access(name.c_str(), X_OK) == 0 ? std::filesystem::absolute(name)
                                             : std::filesystem::path();
  }
  for (const char* directory : {"/usr/local/bin", "/usr/bin", "/bin"}) {
    std::filesystem::path path = std::filesystem::path(directory) / name;
    if (::access(path.c_str(), X_OK) == 0) {
      return path;
    }
  }
  return {};
}

}  // namespace offbook::ingest
