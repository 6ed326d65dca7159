// Training data on disk: documents as tokens with group, licence and source, and questions on
// them as tokens. Every byte: docs/formats/training_data.md.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "src/base/file_system.h"
#include "src/compress/training_text.h"
#include "src/records/context.h"

namespace offbook::compress {

// How a question came about. Written into files: never renumber.
enum class ExampleKind : uint8_t {
  given = 0,     // of a question set
  asked = 1,     // who, when, where, how many, what, by rule
  cloze = 2,     // words left out of a sentence
  keywords = 3,  // a sentence to quote, named by some of its words out of order
};
inline constexpr int kExampleKinds = 4;
std::string_view to_string(ExampleKind kind) noexcept;

struct TrainingExample {
  ExampleKind kind = ExampleKind::given;
  // Tokens of its document that the answer rests on; begin == end: not known.
  int32_t evidence_begin = 0, evidence_end = 0;
  std::vector<int32_t>
      question;                 // of the prompt, from behind the memory to where the answer starts
  std::vector<int32_t> answer;  // with the token that ends it
};

struct TrainingDocument {
  std::string group, title, licence, source;
  double weight = 1;  // × its tokens: how often it is drawn
  std::vector<int32_t> tokens;
  std::vector<TrainingExample> examples;  // evidence_begin rises
};

// Documents of one recipe.
struct TrainingSet {
  std::string tokenizer;      // family fingerprint of the model they are tokens of
  std::string recipe;         // hash
  std::vector<int32_t> lead;  // of a prompt, in front of the memory
  std::vector<TrainingDocument> documents;

  int64_t tokens() const;
  int64_t examples() const;
};

// The documents alone.
TrainingText text_of(const TrainingSet& set);

// One shard file. Io; atomic.
void save_shard(FileSystem& fs, const std::filesystem::path& path, const TrainingSet& shard);

// A shard, or all *.shard files of a directory in the order of their names. Corrupt where a file is
// damaged or its parts do not fit; InvalidArgument when shards are of different recipes, or made
// for another tokenizer than that of `base`; NotFound for a directory without shards. Memory: 4
// bytes a token.
TrainingSet load_shards(FileSystem& fs, const std::filesystem::path& path, const Fingerprint& base);

}  // namespace offbook::compress
