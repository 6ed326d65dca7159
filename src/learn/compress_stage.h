// The stage `compress`: the documents of a generation → segments → contexts in the corpus.
#pragma once
#include <functional>
#include <stop_token>

#include "src/compress/compressor.h"
#include "src/ingest/token_counter.h"
#include "src/store/corpus.h"

namespace offbook::learn {

struct CompressOptions {
  // Changes the result.
  double ratio = 16;
  // Of a document, in place of `ratio`; 0: it is not compressed. Null: `ratio` for all.
  std::function<double(int64_t document)> ratio_of;
  store::KvPrecision precision = store::KvPrecision::eight_bits;
  // Of all contexts of the corpus. What does not fit is left out and made again when a question
  // asks for it.
  uint64_t max_bytes = uint64_t{256} << 20;
  // Changes how it runs.
  size_t segments_at_once = 2;  // given to the compressor together
  // Threads beside the compressor's own that cut documents in segments and quantise, check and
  // write what was made: what a GPU outruns. 0: none.
  int threads = 0;
  std::stop_token stop;
  std::function<void(int64_t done, int64_t total)> on_progress;  // tokens of source
};

struct CompressResult {
  int64_t documents = 0, segments = 0;
  int64_t made = 0, reused = 0, left_out = 0;   // segments
  int64_t tokens_before = 0, tokens_after = 0;  // of those made now
  uint64_t bytes = 0;                           // of all contexts of the corpus
};

// Which contexts a compressor makes at a ratio.
store::ContextRecipe recipe_of(const compress::Compressor& compressor,
                               const compress::BaseModel& base, double ratio);

// Makes the contexts that are not there yet, each segment a unit of work (stage "compress"): a
// stopped or killed run goes on behind the last one. A segment whose tokens were compressed before,
// in this document or another, uses what is there. Where the bytes do not suffice, contexts of
// other recipes are evicted first. A query-aware method leaves nothing: it works when asked. The
// corpus must be open for writing. Errors: Cancelled; Io of the disk, and what was done stays.
// Cost: one pass of the writer over tokens · (1 + 1/ratio) rows for `beacon`; Plan tells for the
// others.
CompressResult compress_documents(store::Corpus& corpus, int64_t generation,
                                  const compress::Compressor& compressor,
                                  const compress::BaseModel& base,
                                  const ingest::TokenCounter& counter,
                                  const backend::ExecutionContext& ctx,
                                  const CompressOptions& options);

// Those that are stored, or new ones, which are stored: a document's version never changes.
std::vector<Segment> segments_of(store::Corpus& corpus, int64_t document,
                                 const ingest::TokenCounter& counter);

// Tokens a second of source, measured on a segment of 768 of them. Cost: two passes of it, the
// first of which makes what the method keeps in memory.
double measure_compression(const compress::Compressor& compressor,
                           const ingest::TokenCounter& counter,
                           const backend::ExecutionContext& ctx, double ratio);

// Bytes that a context of `tokens` takes on disk, before anything is made.
uint64_t stored_bytes(const compress::Compressor& compressor, const model::ModelConfig& config,
                      int64_t tokens, const CompressOptions& options);

}  // namespace offbook::learn
