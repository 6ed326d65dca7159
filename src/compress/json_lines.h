// JSON Lines files, plain or compressed with zstd, one record at a time.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>

#include "src/base/file_system.h"
#include "src/base/json_fields.h"

namespace offbook::compress {

// Calls on_record(fields, number of the line from 1) for every line that is not empty, until it
// says false. Reads .jsonl and .jsonl.zst. Errors: NotFound; Unsupported for other endings; Corrupt
// with file and line for a line that is no JSON object or longer than 64 MiB, or a damaged frame.
// Memory: the longest line.
void read_json_lines(FileSystem& fs, const std::filesystem::path& path,
                     const std::function<bool(const JsonFields&, int64_t)>& on_record);

}  // namespace offbook::compress
