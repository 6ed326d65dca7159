// A program run apart from ours: no shell, no inherited files or environment, hard limits.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace offbook::ingest {

struct ChildOptions {
  std::filesystem::path program;       // absolute
  std::vector<std::string> arguments;  // "{input}" stands for the path under which input is read
  std::span<const std::byte> input;    // given to the child as an unnamed file in memory
  int cpu_seconds = 60;
  int wall_seconds = 120;
  uint64_t memory_bytes = uint64_t{2} << 30;  // address space
  uint64_t max_output_bytes = 0;              // of standard output; more ends the child
  std::stop_token stop;
};

struct ChildResult {
  enum class End : uint8_t { exited, signalled, timed_out, too_much_output };
  End end = End::exited;
  int status = 0;  // exit status, or the signal's number
  std::string output;
  std::string errors;  // the first 4 KiB of standard error
};

// Runs the program to its end or kills it at a limit; it never outlives this call. The child may
// not create files, gains no privileges and dies with the calling thread. Cancelled when asked to
// stop, Io when the system refuses a pipe, memory file or process. Thread-safe.
ChildResult run_child(const ChildOptions& options);

// The path itself if it has a '/' and can be executed, else where it is found in /usr/local/bin,
// /usr/bin or /bin; empty where it is not.
std::filesystem::path find_program(const std::filesystem::path& name);

}  // namespace offbook::ingest
