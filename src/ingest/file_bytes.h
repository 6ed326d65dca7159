// Bytes of a user's file.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace offbook::ingest {

struct FileBytes {
  std::vector<std::byte> bytes;
  int64_t modified_ns = 0;
};

// Read, not mapped: a file that someone cuts while it is read must not end the program (SIGBUS).
// NotFound, Io (with the system's reason; not a regular file), Unsupported above max_bytes.
// Messages begin with `name`.
FileBytes read_file_bytes(const std::filesystem::path& path, std::string_view name,
                          uint64_t max_bytes);

}  // namespace offbook::ingest
