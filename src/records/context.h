// What a compressor leaves of a segment, and what is asked and answered.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/records/document.h"
#include "src/tensor/tensor.h"

namespace offbook {

// Written into artefact files: never renumber.
enum class ContextKind : uint8_t { text = 0, soft_tokens = 1, kv_prefix = 2 };

// 128-bit XXH3 over architecture, tokenizer and tensor bytes of a model, as 32 hex digits; `family`
// covers configuration and tokenizer only (other quantisations of the same model share it).
struct Fingerprint {
  std::string model;
  std::string family;
  bool operator==(const Fingerprint&) const = default;
};

struct CompressedContext {
  std::string method;        // stable id, e.g. "beacon"
  std::string weights_hash;  // of the trained compressor; empty for methods without training
  Fingerprint base;
  ContextKind kind = ContextKind::text;
  // Exactly one of these, by kind:
  std::string text;
  Tensor soft_tokens;  // [n, hidden]
  Tensor kv;           // [layer, 2, n, kv_head, head_dim]; keys after qk-norm, before RoPE
  Tensor sink_kv;      // [layer, 2, s, kv_head, head_dim]; kept once in front of joined prefixes, may be undefined
  std::vector<ByteSpan> slot_spans;  // source of every slot, in the document's text; kind text: of every kept piece
  std::string document_id;
  int segment_ordinal = 0;
  int tokens_before = 0;
  int tokens_after = 0;
  double ratio = 1;                 // asked
  std::optional<double> fidelity;  // lower 90% bound; absent until assessed
};

// A question with accepted answers, for training and for assessment.
struct Example {
  enum class Source : uint8_t { given = 0, by_model = 1, by_rule = 2 };
  std::string id;
  std::string question;
  std::vector<std::string> answers;
  std::string document_id;         // empty: not tied to one document
  std::vector<int64_t> passages;   // ids of supporting passages, may be empty
  Source source = Source::given;
};

struct Citation {
  int number = 0;  // as printed: [1]
  int64_t passage_id = 0;
  std::string path;
  std::vector<std::string> headings;
  std::optional<int> page;
  std::string quote;  // verbatim in the document's text at `span`
  ByteSpan span;
};

struct Answer {
  enum class Support : uint8_t { cited = 0, from_memory = 1, not_in_documents = 2 };
  std::string text;
  Support support = Support::not_in_documents;
  std::vector<Citation> citations;
  int prompt_tokens = 0;
  int generated_tokens = 0;
};

}  // namespace offbook
