// Sentence vectors by a BERT-type encoder (all-MiniLM-L6-v2): mean of the last hidden states,
// length 1.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/backend/context.h"
#include "src/base/file_system.h"
#include "src/model/import/weights.h"
#include "src/text/tokenizer.h"

namespace offbook::model {

// Not thread-safe: it owns the arena its passes run in.
class SentenceEncoder {
 public:
  // A directory with config.json, model.safetensors and tokenizer.json. `pool` must outlive it.
  // Errors of the readers; Unsupported for another architecture or pooling.
  SentenceEncoder(FileSystem& fs, const std::filesystem::path& directory, backend::ThreadPool& pool,
                  backend::Backend backend, backend::Compute compute);
  // On the device of `where`, whose pool, allocator and GPU must outlive it; in its compute type.
  // `cache`: a directory that keeps packed weights for the next start.
  SentenceEncoder(FileSystem& fs, const std::filesystem::path& directory,
                  const backend::ExecutionContext& where,
                  const std::optional<std::filesystem::path>& cache = {});
  ~SentenceEncoder();

  int64_t dim() const;
  // Word pieces of a text that are read at most, [CLS] and [SEP] included. Longer ones are refused
  // (InvalidArgument with the count): callers cut passages so that none is longer.
  int32_t window() const;
  const text::Tokenizer& tokenizer() const;

  // f32 [texts, dim], each of length 1, in the order of `texts`. Sorted by length inside and
  // packed, so there is no padding work. A text's vector does not depend on the others beyond
  // rounding.
  Tensor encode(std::span<const std::string_view> texts);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace offbook::model
