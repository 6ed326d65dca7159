// Segments and what compressors left of them.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "src/records/context.h"
#include "src/store/context_artefact.h"
#include "src/store/sqlite.h"

namespace offbook::store {

// Which compressor, with which weights, on which model, at which ratio.
struct ContextRecipe {
  std::string method;
  std::string weights_hash;  // empty for methods without training
  Fingerprint base;
  double ratio = 1;
};

// Identity of a context: equal tokens with equal spans within their segment, compressed alike,
// share one. 32 hex digits.
std::string context_key(const Segment& segment, const ContextRecipe& recipe);

// Views of the corpus's connection; must not outlive the corpus.
class ContextTable {
 public:
  ContextTable(Database& db, ArtefactStore& artefacts) : db_(db), artefacts_(artefacts) {}

  // Replaces the segments of a document version; the same ones again change nothing.
  void put_segments(int64_t document, const std::vector<Segment>& segments);
  std::vector<Segment> segments(int64_t document);  // in order
  // The one that holds a passage; absent while the document has no segments.
  std::optional<Segment> segment_of(int64_t document, int passage_ordinal);

  // True when a context of this recipe is there (and not evicted); then the segment uses it from
  // now on, also if it was made for another document.
  bool reuse(int64_t document, const Segment& segment, const ContextRecipe& recipe);
  // Stores a context that was made of a segment. The artefact is durable before its row.
  void put(int64_t document, const Segment& segment, const CompressedContext& context,
           KvPrecision precision);
  // The same in two steps, the first of which any number of threads may do, with tables of their
  // own: an artefact, durable, whose row does not exist yet.
  struct Stored {
    std::string artefact;
    uint64_t bytes = 0;
  };
  static Stored put_artefact(ArtefactStore& artefacts, const Segment& segment,
                             const CompressedContext& context, KvPrecision precision);
  void put_row(int64_t document, const Segment& segment, const CompressedContext& context,
               const Stored& stored);
  // Absent when never made, or evicted: then it is to be made again. With document, ordinal and the
  // worst fidelity assessed for the document. Corrupt when the artefact is damaged or missing.
  std::optional<CompressedContext> get(int64_t document, int ordinal, const ContextRecipe& recipe);
  // Tokens of a generation's documents that have no context of this recipe; for documents that were
  // never compressed, what their passages hold.
  int64_t tokens_without(int64_t generation, const ContextRecipe& recipe);
  // Counts a use, so that enforce_budget keeps what is asked for often.
  void count_hit(int64_t document, int ordinal, const ContextRecipe& recipe);
  uint64_t stored_bytes();
  // Evicts the least asked for until at most `max_bytes` are kept; their files go with the next
  // collect_garbage(). Returns how many went.
  int enforce_budget(uint64_t max_bytes);
  // Evicts contexts that were not made by this recipe. Returns how many went.
  int64_t evict_others(const ContextRecipe& recipe);
  // Forgets contexts that no segment uses any more.
  void drop_unused();

 private:
  std::optional<std::string> key_of(int64_t document, int ordinal, const ContextRecipe& recipe);

  Database& db_;
  ArtefactStore& artefacts_;
};

}  // namespace offbook::store
