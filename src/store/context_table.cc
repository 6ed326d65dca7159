#include "src/store/context_table.h"

#include "src/store/hash.h"
#include "src/store/pack.h"

namespace offbook::store {
namespace {

constexpr const char* kSegments =
    "SELECT s.ordinal, s.first_passage, s.last_passage, s.begin, s.end, s.token_count, s.tokens, "
    "s.token_spans, d.id FROM segments s JOIN documents d ON d.number = s.document "
    "WHERE s.document = ?1 AND ?2 BETWEEN s.first_passage AND s.last_passage OR "
    "s.document = ?1 AND ?2 < 0 ORDER BY s.ordinal";

// The row a query of kSegments stands at.
Segment segment_in(Query& q) {
  Segment s{.document_id = q.string(8),
            .ordinal = static_cast<int>(q.integer(0)),
            .first_passage = static_cast<int>(q.integer(1)),
            .last_passage = static_cast<int>(q.integer(2)),
            .span = {static_cast<uint64_t>(q.integer(3)), static_cast<uint64_t>(q.integer(4))}};
  const auto count = static_cast<uint64_t>(q.integer(5));
  s.tokens = unpack_tokens(q.blob(6), count);
  s.token_spans = unpack_spans(q.blob(7), count, s.span.begin);
  return s;
}

bool equal(const Segment& a, const Segment& b) {
  return a.ordinal == b.ordinal && a.first_passage == b.first_passage &&
         a.last_passage == b.last_passage && a.span == b.span && a.tokens == b.tokens &&
         a.token_spans == b.token_spans;
}

}  // namespace

std::string context_key(const Segment& segment, const ContextRecipe& recipe) {
  Hasher hasher;
  hasher.add_text(recipe.method).add_text(recipe.weights_hash).add_text(recipe.base.model);
  hasher.add(std::as_bytes(std::span(&recipe.ratio, 1)));
  hasher.add(std::as_bytes(std::span(segment.tokens)));
  for (const ByteSpan& span : segment.token_spans) {
    const uint64_t relative[] = {span.begin - segment.span.begin, span.end - segment.span.begin};
    hasher.add(std::as_bytes(std::span(relative)));
  }
  return to_hex(hasher.digest());
}

void ContextTable::put_segments(int64_t document, const std::vector<Segment>& segments) {
  Transaction transaction(db_);
  const std::vector<Segment> there = this->segments(document);
  if (!std::equal(there.begin(), there.end(), segments.begin(), segments.end(), equal)) {
    db_.run("DELETE FROM segments WHERE document = ?1", document);
    for (const Segment& s : segments) {
      OB_REQUIRE(s.tokens.size() == s.token_spans.size(), InvalidArgument,
                 "segment {} of {}: {} tokens but {} spans", s.ordinal, s.document_id,
                 s.tokens.size(), s.token_spans.size());
      db_.run(
          "INSERT INTO segments(document, ordinal, first_passage, last_passage, begin, end, "
          "token_count, tokens, token_spans) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
          document, s.ordinal, s.first_passage, s.last_passage, s.span.begin, s.span.end,
          uint64_t{s.tokens.size()}, pack_tokens(s.tokens),
          pack_spans(s.token_spans, s.span.begin));
    }
    drop_unused();
  }
  transaction.commit();
}

std::vector<Segment> ContextTable::segments(int64_t document) {
  std::vector<Segment> segments;
  Query q = db_.query(kSegments, document, -1);
  while (q.step()) {
    segments.push_back(segment_in(q));
  }
  return segments;
}

std::optional<Segment> ContextTable::segment_of(int64_t document, int passage_ordinal) {
  Query q = db_.query(kSegments, document, passage_ordinal);
  return q.step() ? std::optional(segment_in(q)) : std::nullopt;
}

bool ContextTable::reuse(int64_t document, const Segment& segment, const ContextRecipe& recipe) {
  const std::string key = context_key(segment, recipe);
  Query q = db_.query("SELECT artefact FROM contexts WHERE key = ?1 AND artefact IS NOT NULL", key);
  if (!q.step() || !artefacts_.size_bytes(q.text(0))) {
    return false;
  }
  db_.run("INSERT OR IGNORE INTO segment_contexts(document, ordinal, key) VALUES(?1, ?2, ?3)",
          document, segment.ordinal, key);
  return true;
}

void ContextTable::put(int64_t document, const Segment& segment, const CompressedContext& context,
                       KvPrecision precision) {
  put_row(document, segment, context, put_artefact(artefacts_, segment, context, precision));
}

ContextTable::Stored ContextTable::put_artefact(ArtefactStore& artefacts, const Segment& segment,
                                                const CompressedContext& context,
                                                KvPrecision precision) {
  const std::string id = artefacts.put(to_artefact(context, segment.span.begin, precision));
  return {id, artefacts.size_bytes(id).value_or(0)};
}

void ContextTable::put_row(int64_t document, const Segment& segment,
                           const CompressedContext& context, const Stored& stored) {
  const std::string key =
      context_key(segment, {context.method, context.weights_hash, context.base, context.ratio});
  Transaction transaction(db_);
  db_.run(
      "INSERT INTO contexts(key, method, weights, base_model, base_family, kind, ratio, "
      "tokens_before, tokens_after, artefact, bytes) "
      "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) "
      "ON CONFLICT(key) DO UPDATE SET artefact = excluded.artefact, bytes = excluded.bytes",
      key, context.method, context.weights_hash, context.base.model, context.base.family,
      static_cast<int>(context.kind), context.ratio, context.tokens_before, context.tokens_after,
      stored.artefact, stored.bytes);
  db_.run("INSERT OR IGNORE INTO segment_contexts(document, ordinal, key) VALUES(?1, ?2, ?3)",
          document, segment.ordinal, key);
  transaction.commit();
}

std::optional<std::string> ContextTable::key_of(int64_t document, int ordinal,
                                                const ContextRecipe& recipe) {
  Query q = db_.query(
      "SELECT c.key FROM segment_contexts u JOIN contexts c ON c.key = u.key WHERE u.document = ?1 "
      "AND u.ordinal = ?2 AND c.method = ?3 AND c.weights = ?4 AND c.base_model = ?5 "
      "AND c.ratio = ?6",
      document, ordinal, recipe.method, recipe.weights_hash, recipe.base.model, recipe.ratio);
  return q.step() ? std::optional(q.string(0)) : std::nullopt;
}

std::optional<CompressedContext> ContextTable::get(int64_t document, int ordinal,
                                                   const ContextRecipe& recipe) {
  const auto key = key_of(document, ordinal, recipe);
  if (!key) {
    return std::nullopt;
  }
  Query q = db_.query(
      "SELECT c.artefact, s.begin, d.id, (SELECT min(lower) FROM fidelity f WHERE f.document = ?2 "
      "AND f.method = c.method) FROM contexts c, segments s, documents d WHERE c.key = ?1 AND "
      "s.document = ?2 AND s.ordinal = ?3 AND d.number = ?2",
      *key, document, ordinal);
  if (!q.step() || q.is_null(0)) {
    return std::nullopt;
  }
  CompressedContext context = to_context(artefacts_.get(q.text(0), ArtefactKind::context),
                                         static_cast<uint64_t>(q.integer(1)));
  context.document_id = q.string(2);
  context.segment_ordinal = ordinal;
  if (!q.is_null(3)) {
    context.fidelity = q.real(3);
  }
  return context;
}

int64_t ContextTable::tokens_without(int64_t generation, const ContextRecipe& recipe) {
  const auto in_segments = db_.integer(
      "SELECT sum(s.token_count) FROM segments s JOIN generation_documents g ON g.document = "
      "s.document WHERE g.generation = ?1 AND NOT EXISTS (SELECT 1 FROM segment_contexts u JOIN "
      "contexts c ON c.key = u.key WHERE u.document = s.document AND u.ordinal = s.ordinal AND "
      "c.artefact IS NOT NULL AND c.method = ?2 AND c.weights = ?3 AND c.base_model = ?4 AND "
      "c.ratio = ?5)",
      generation, recipe.method, recipe.weights_hash, recipe.base.model, recipe.ratio);
  const auto in_passages = db_.integer(
      "SELECT sum(p.base_tokens) FROM passages p JOIN generation_documents g ON g.document = "
      "p.id >> 24 WHERE g.generation = ?1 AND g.document NOT IN (SELECT document FROM segments)",
      generation);
  return in_segments.value_or(0) + in_passages.value_or(0);
}

void ContextTable::count_hit(int64_t document, int ordinal, const ContextRecipe& recipe) {
  if (const auto key = key_of(document, ordinal, recipe)) {
    db_.run("UPDATE contexts SET hits = hits + 1 WHERE key = ?1", *key);
  }
}

uint64_t ContextTable::stored_bytes() {
  return static_cast<uint64_t>(
      db_.integer("SELECT sum(bytes) FROM contexts WHERE artefact IS NOT NULL").value_or(0));
}

int ContextTable::enforce_budget(uint64_t max_bytes) {
  Transaction transaction(db_);
  uint64_t kept = stored_bytes();
  std::vector<std::string> evicted;
  Query q =
      db_.query("SELECT key, bytes FROM contexts WHERE artefact IS NOT NULL ORDER BY hits, key");
  while (kept > max_bytes && q.step()) {
    evicted.push_back(q.string(0));
    kept -= static_cast<uint64_t>(q.integer(1));
  }
  for (const std::string& key : evicted) {
    db_.run("UPDATE contexts SET artefact = NULL WHERE key = ?1", key);
  }
  transaction.commit();
  return static_cast<int>(evicted.size());
}

int64_t ContextTable::evict_others(const ContextRecipe& recipe) {
  return db_.run(
      "UPDATE contexts SET artefact = NULL WHERE artefact IS NOT NULL AND NOT (method = ?1 AND "
      "weights = ?2 AND base_model = ?3 AND ratio = ?4)",
      recipe.method, recipe.weights_hash, recipe.base.model, recipe.ratio);
}

void ContextTable::drop_unused() {
  db_.run("DELETE FROM contexts WHERE key NOT IN (SELECT key FROM segment_contexts)");
}

}  // namespace offbook::store
