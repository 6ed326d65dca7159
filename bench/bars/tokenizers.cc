// Compares every tokeniser with the ids its reference library gave (pairs made by
// tools/golden/tokenizer_lines.py) and measures their speed. Run by bench/bars/tokenizers.
//
// usage: bar_tokenizers PAIRS FIXTURES MODELS [--sabotage]
// exit: 0 all ids equal, 1 not, 4 a file is missing
#include "tests/golden/tokenizer_pairs.h"

#include <cstdio>
#include <ctime>
#include <functional>

#include <fmt/format.h>

#include "src/base/error.h"
#include "src/model/import/tokenizer_source.h"
#include "src/text/sentence_piece.h"
#include "src/text/tokenizer_files.h"
#include "src/text/tokenizer_json.h"

namespace offbook {
namespace {

using TokenizerPtr = std::unique_ptr<text::Tokenizer>;

struct Paths {
  std::filesystem::path pairs, fixtures, models;
};

std::string_view chars_of(const ReadableFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// SmolLM2 from its GGUF; sabotaged, the last tenth of its merges is lost.
TokenizerPtr open_smollm2(const Paths& paths, bool is_sabotaged) {
  const auto file =
      model::GgufFile::open(real_file_system(), paths.models / "smollm2-135m-instruct" /
                                                    "SmolLM2-135M-Instruct.Q4_1.gguf");
  text::GgufVocabulary vocabulary = model::tokenizer_source_of_gguf(*file).vocabulary;
  if (is_sabotaged) {
    vocabulary.merges.resize(vocabulary.merges.size() / 10 * 9);
  }
  return text::make_gguf_tokenizer(std::move(vocabulary));
}

TokenizerPtr open_fixture(const Paths& paths, const std::string& name) {
  const auto path = paths.fixtures / (name + ".json");
  return text::read_tokenizer_json(real_file_system().open(path)->bytes(), path.string());
}

TokenizerPtr open_sentence_piece(const Paths& paths) {
  const auto file = real_file_system().open(paths.fixtures / "sp_bpe.model");
  return text::make_sentence_piece_tokenizer(chars_of(*file));
}

// The same SentencePiece model through our own merging, as a GGUF file holds it.
TokenizerPtr open_scored(const Paths& paths) {
  const TokenizerPtr twin = open_sentence_piece(paths);
  text::GgufVocabulary v{.model = "llama", .bos = twin->special().bos, .unk = twin->special().unk};
  for (int32_t id = 0; id < twin->vocab_size(); ++id) {
    v.tokens.push_back(twin->vocabulary().piece(id));
    v.token_types.push_back(static_cast<int32_t>(twin->vocabulary().type(id)));
    v.scores.push_back(-static_cast<float>(id));
  }
  return text::make_gguf_tokenizer(std::move(v));
}

struct Row {
  std::string shown;
  std::string reference;  // name in the pairs
  TokenizerPtr tokenizer;
};

std::vector<Row> open_all(const Paths& paths, bool is_sabotaged) {
  std::vector<Row> rows;
  rows.push_back({"smollm2 (GGUF)", "smollm2", open_smollm2(paths, is_sabotaged)});
  rows.push_back(
      {"minilm (tokenizer.json)", "minilm",
       text::load_tokenizer(real_file_system(), paths.models / "all-minilm-l6-v2").tokenizer});
  for (const char* name : {"llama3", "qwen2", "smollm", "gpt2", "llama2", "wordpiece"}) {
    rows.push_back({fmt::format("{} (trained)", name), name, open_fixture(paths, name)});
  }
  rows.push_back({"sentencepiece (.model)", "sp_bpe", open_sentence_piece(paths)});
  rows.push_back({"sentencepiece (scores)", "sp_bpe", open_scored(paths)});
  return rows;
}

// CPU time of this thread: the machine may be busy with other things.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double megabytes_per_second(const text::Tokenizer& tokenizer,
                            const std::vector<golden::TokenizerPair>& pairs) {
  size_t bytes = 0;
  const double start = cpu_seconds();
  for (const auto& pair : pairs) {
    bytes += pair.line.size();
    tokenizer.encode(pair.line, text::EncodeOptions{});
  }
  return static_cast<double>(bytes) / 1e6 / (cpu_seconds() - start);
}

// What a text without a single space costs, which naive merging makes quadratic.
double seconds_for_one_word(const text::Tokenizer& tokenizer, size_t bytes) {
  std::string word;
  for (uint32_t state = 1; word.size() < bytes;) {
    state = state * 1664525 + 1013904223;
    word.push_back(static_cast<char>('a' + (state >> 24) % 26));
  }
  const double start = cpu_seconds();
  tokenizer.encode(word, text::EncodeOptions{});
  return cpu_seconds() - start;
}

int run(const Paths& paths, bool is_sabotaged) {
  const auto pairs = golden::read_tokenizer_pairs(paths.pairs);
  size_t unequal = 0;
  size_t compared = 0;
  for (const Row& row : open_all(paths, is_sabotaged)) {
    size_t row_unequal = 0;
    for (const auto& pair : pairs) {
      const std::string difference = golden::compare(*row.tokenizer, row.reference, pair);
      row_unequal += !difference.empty();
      if (!difference.empty() && row_unequal <= 3) {
        fmt::print("{}\n", difference);
      }
    }
    fmt::print("{:26} {:6} lines, {:5} unequal, {:5.1f} MB/s, a word of 1 MB in {:.2f} s\n",
               row.shown, pairs.size(), row_unequal, megabytes_per_second(*row.tokenizer, pairs),
               seconds_for_one_word(*row.tokenizer, 1'000'000));
    unequal += row_unequal;
    compared += pairs.size();
  }
  fmt::print("unequal: {} of {} comparisons over {} lines\n", unequal, compared, pairs.size());
  return unequal == 0 ? 0 : 1;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: {} PAIRS FIXTURES MODELS [--sabotage]\n", argv[0]);
    return 2;
  }
  const bool is_sabotaged = argc > 4 && std::string_view(argv[4]) == "--sabotage";
  try {
    return offbook::run({argv[1], argv[2], argv[3]}, is_sabotaged);
  } catch (const offbook::Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return e.code() == offbook::ErrorCode::NotFound ? 4 : static_cast<int>(e.code());
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 4;
  }
}
