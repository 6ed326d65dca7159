// The shared question sets: zstd-compressed JSON Lines, one document with its questions a line.
#pragma once
#include "bench/bars/bar.h"

#include <algorithm>
#include <cctype>
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

struct TextSample {
  std::string text;
  std::string question;  // the document's first
};

// The first `bytes` of every document of eight sets (six of each in a quick bar), whole characters,
// without white space around them: 697 texts.
inline std::vector<TextSample> text_samples(bool is_quick, size_t bytes) {
  std::vector<TextSample> out;
  for (const char* set : {"bamboo_altqa", "covidqa", "fairytaleqa", "nq_multidoc", "squality",
                          "squad", "bamboo_paperqa", "qasper"}) {
    const auto path = data_directory() / "data" / (std::string(set) + ".jsonl.zst");
    int taken = 0;
    for (const nlohmann::json& record : lines_of(decompressed(path))) {
      if (is_quick && taken++ == 6) {
        break;
      }
      std::string text = record["text"].get<std::string>().substr(0, bytes);
      while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80) != 0) {
        text.pop_back();
      }
      while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
        text.pop_back();
      }
      const size_t begin = text.find_first_not_of(" \n\t");
      if (begin != std::string::npos) {
        out.push_back({text.substr(begin), record["questions"][0]["question"]});
      }
    }
  }
  return out;
}

}  // namespace offbook::bars
