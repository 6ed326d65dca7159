// Reads the pairs that tools/golden/tokenizer_pairs.py writes and compares a tokeniser with them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "src/text/tokenizer.h"

namespace offbook::golden {

struct TokenizerPair {
  std::string line;  // any bytes
  // By tokeniser: ids of the line, and ids with special tokens read where those differ.
  std::map<std::string, std::vector<std::vector<int32_t>>> ids;
};

inline std::vector<TokenizerPair> read_tokenizer_pairs(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error("cannot open " + path.string());
  }
  std::vector<TokenizerPair> pairs;
  for (std::string row; std::getline(file, row);) {
    const auto json = nlohmann::json::parse(row);
    const auto hex = json.at("line").get<std::string>();
    TokenizerPair pair;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      pair.line.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    json.at("ids").get_to(pair.ids);
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

// Empty when the tokeniser gives the pair's ids, and spans that rise inside the line; else what
// differs.
inline std::string compare(const text::Tokenizer& tokenizer, const std::string& name,
                           const TokenizerPair& pair) {
  const auto& wanted = pair.ids.at(name);
  for (const bool parse_special : {false, true}) {
    const text::EncodeOptions options{.add_special = true, .parse_special = parse_special};
    const text::Encoding got = tokenizer.encode(pair.line, options);
    if (got.ids != (parse_special ? wanted.back() : wanted.front())) {
      return fmt::format("{}: {:?}\n  wanted {}\n  came   {}", name, pair.line,
                         fmt::join(parse_special ? wanted.back() : wanted.front(), " "),
                         fmt::join(got.ids, " "));
    }
    uint64_t at = 0;
    for (const auto& span : got.spans) {
      if (span.begin < at || span.end < span.begin || span.end > pair.line.size()) {
        return fmt::format("{}: {:?}: span [{}, {}) after {}", name, pair.line, span.begin,
                           span.end, at);
      }
      at = span.begin;
    }
  }
  return "";
}

}  // namespace offbook::golden
