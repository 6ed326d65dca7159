// The shared question sets: zstd-compressed JSON Lines, one document with its questions a line.
#pragma once
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <zstd.h>

#include "src/base/error.h"
#include "src/base/file_system.h"

namespace offbook::bars {

inline std::string decompressed(const std::filesystem::path& path) {
  const auto file = real_file_system().open(path);
  ZSTD_DCtx* const context = ZSTD_createDCtx();
  ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 27);
  std::string out;
  std::vector<char> piece(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in{file->bytes().data(), file->bytes().size(), 0};
  while (in.pos < in.size) {
    ZSTD_outBuffer to{piece.data(), piece.size(), 0};
    const size_t state = ZSTD_decompressStream(context, &to, &in);
    OB_REQUIRE(ZSTD_isError(state) == 0, Corrupt, "{}: {}", path.string(),
               ZSTD_getErrorName(state));
    out.append(piece.data(), to.pos);
  }
  ZSTD_freeDCtx(context);
  return out;
}

inline std::vector<nlohmann::json> lines_of(const std::string& text) {
  std::vector<nlohmann::json> records;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) {
      records.push_back(nlohmann::json::parse(text.substr(begin, end - begin)));
    }
    begin = end + 1;
  }
  return records;
}

}  // namespace offbook::bars
