// Hyper-parameters of a BERT-type sentence encoder, from config.json and its neighbours.
#pragma once
#include <cstdint>
#include <filesystem>

#include "src/base/file_system.h"
#include "src/base/json_fields.h"

namespace offbook::model {

// Absolute positions, GELU (erf), post-norm layers; the sentence vector is the mean of the last
// hidden states. Every value that a reader returns is checked.
struct EncoderConfig {
  int64_t vocab_size = 0;
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t ffn = 0;
  int64_t max_positions = 0;  // rows of the position table
  int64_t token_types = 0;    // rows of the token type table; row 0 is used
  int64_t max_tokens = 0;  // longest input it was made for, specials among them; ≤ max_positions
  float layer_norm_eps = 1e-12f;
  bool is_normalized = false;  // are sentence vectors scaled to length 1
};

// From config.json alone: max_tokens = max_positions, not normalised. Unsupported: other model
// types, activations and position kinds. Corrupt: missing or impossible values.
EncoderConfig encoder_config_of_json(const JsonFields& config);

// From a sentence-transformers directory: config.json, and where they are there
// sentence_bert_config.json (max_seq_length), modules.json (a Normalize module) and
// 1_Pooling/config.json, which must say mean pooling (else Unsupported).
EncoderConfig read_encoder_config(FileSystem& fs, const std::filesystem::path& directory);

}  // namespace offbook::model
