#include "src/store/search_text.h"

#include <algorithm>
#include <cmath>

#include <fnmatch.h>
#include <sqlite3.h>

namespace offbook::store {
namespace {

constexpr double kK1 = 1.2;
constexpr double kB = 0.75;

// The first number of a docsize row: how many words a passage has (SQLite's varint, big-endian).
uint32_t first_varint(std::span<const std::byte> blob) {
  uint32_t value = 0;
  for (const std::byte byte : blob.first(std::min<size_t>(blob.size(), 5))) {
    value = value << 7 | (static_cast<uint32_t>(byte) & 127);
    if ((static_cast<uint32_t>(byte) & 128) == 0) {
      break;
    }
  }
  return value;
}

}  // namespace

// What the scoring function needs; idf is by phrase, in the order of the expression.
struct TextSearcher::Scoring {
  std::vector<double> idf;
  std::unordered_map<int64_t, size_t> first_of;  // document → place of its passage 0 in lengths
  std::vector<uint32_t> lengths;                 // words, by document and ordinal
  double mean_length = 1;
  int64_t last_document = -1;  // rows come by rising id: one look-up a document
  size_t last_first = 0;

  double length_of(int64_t passage) {
    if (document_of(passage) != last_document) {
      last_document = document_of(passage);
      const auto it = first_of.find(last_document);
      last_first = it == first_of.end() ? lengths.size() : it->second;
    }
    const size_t at =
        last_first + static_cast<size_t>(passage & ((int64_t{1} << kOrdinalBits) - 1));
    return at < lengths.size() ? lengths[at] : mean_length;
  }

  static void score(const Fts5ExtensionApi* api, Fts5Context* fts, sqlite3_context* out, int,
                    sqlite3_value**) {
    auto& self = *static_cast<Scoring*>(api->xUserData(fts));
    const double norm = kK1 * (1 - kB + kB * self.length_of(api->xRowid(fts)) / self.mean_length);
    double sum = 0;
    const int phrases = std::min(api->xPhraseCount(fts), static_cast<int>(self.idf.size()));
    for (int phrase = 0; phrase < phrases; ++phrase) {
      Fts5PhraseIter iter;
      int column = 0, offset = 0, count = 0;
      if (api->xPhraseFirst(fts, phrase, &iter, &column, &offset) != SQLITE_OK) {
        continue;
      }
      for (; column >= 0; api->xPhraseNext(fts, &iter, &column, &offset)) {
        ++count;
      }
      sum += self.idf[static_cast<size_t>(phrase)] * count * (kK1 + 1) / (count + norm);
    }
    sqlite3_result_double(out, sum);
  }
};

TextSearcher::TextSearcher(Corpus& corpus, int64_t generation)
    : corpus_(corpus),
      db_(corpus.db()),
      generation_(generation),
      cutter_(corpus.db()),
      scoring_(new Scoring),
      function_(fmt::format("offbook_bm25_{}", fmt::ptr(scoring_))) {
  fts5_api* api = fts5_api_of(db_);
  const int code = api->xCreateFunction(api, function_.c_str(), scoring_, Scoring::score,
                                        [](void* p) { delete static_cast<Scoring*>(p); });
  if (code != SQLITE_OK) {
    delete scoring_;
    db_.fail(code, "register the scoring function");
  }
}

void TextSearcher::load_lengths() {
  *scoring_ = {};
  double total = 0;
  Query q = db_.query("SELECT id, sz FROM passage_text_docsize ORDER BY id");
  while (q.step()) {
    const int64_t id = q.integer(0);
    const auto ordinal = static_cast<size_t>(id & ((int64_t{1} << kOrdinalBits) - 1));
    const size_t first =
        scoring_->first_of.try_emplace(document_of(id), scoring_->lengths.size()).first->second;
    scoring_->lengths.resize(std::max(scoring_->lengths.size(), first + ordinal + 1));
    scoring_->lengths[first + ordinal] = first_varint(q.blob(1));
    total += scoring_->lengths[first + ordinal];
  }
  scoring_->mean_length =
      std::max(1.0, total / static_cast<double>(std::max<int64_t>(1, passage_count_)));
}

void TextSearcher::refresh() {
  std::vector<int64_t> state = {db_.data_version(), sqlite3_total_changes64(db_.raw())};
  if (state == state_) {
    return;
  }
  counts_.clear();
  members_.clear();
  Query q =
      db_.query("SELECT document FROM generation_documents WHERE generation = ?1", generation_);
  while (q.step()) {
    members_.insert(q.integer(0));
  }
  all_are_members_ = *db_.integer("SELECT count(*) FROM documents") == std::ssize(members_);
  passage_count_ = corpus_.documents().passage_count();
  load_lengths();
  state_ = std::move(state);
}

int64_t TextSearcher::passages_with(const std::string& term) {
  const auto [it, is_new] = counts_.try_emplace(term, 0);
  if (is_new) {
    it->second = db_.integer("SELECT doc FROM passage_terms WHERE term = ?1", term).value_or(0);
  }
  return it->second;
}

std::vector<TextSearcher::Word> TextSearcher::choose(const std::string& text) {
  std::vector<Word> found;
  std::unordered_set<std::string> seen;
  cutter_.cut(text, [&](std::string_view term, std::string_view word) {
    if (seen.insert(std::string(term)).second) {
      found.push_back(
          {.term = std::string(term), .text = std::string(word), .place = found.size()});
    }
  });
  std::erase_if(found, [&](Word& word) {
    word.passages = passages_with(word.term);
    return word.passages == 0;
  });
  const auto limit = std::max(
      kCommonFloor, static_cast<int64_t>(kCommonShare * static_cast<double>(passage_count_)));
  std::ranges::stable_sort(found, {}, &Word::passages);
  int64_t rows = 0;
  size_t kept = 0;
  for (; kept < found.size() && kept < kMaxWords; ++kept) {
    rows += found[kept].passages;
    const bool is_common = found[kept].passages > limit && found.front().passages <= limit;
    if (is_common || (kept > 0 && rows > kMaxRows)) {
      break;
    }
  }
  found.resize(kept);
  std::ranges::sort(found, {}, &Word::place);
  return found;
}

std::vector<std::string> TextSearcher::words(const std::string& text) {
  refresh();
  std::vector<std::string> kept;
  for (Word& word : choose(text)) {
    kept.push_back(std::move(word.text));
  }
  return kept;
}

// Every word in double quotes, so that FTS5 sees strings and no operators.
std::string TextSearcher::match_expression(const std::vector<Word>& words) {
  std::string expression;
  for (const Word& word : words) {
    expression += expression.empty() ? "\"" : " OR \"";
    for (const char c : word.text) {
      expression.append(c == '"' ? 2 : 1, c);
    }
    expression += '"';
  }
  return expression;
}

void TextSearcher::prepare_scoring(const std::vector<Word>& words) {
  scoring_->idf.clear();
  for (const Word& word : words) {
    const auto with = static_cast<double>(word.passages);
    const double without = std::max(0.0, static_cast<double>(passage_count_) - with);
    scoring_->idf.push_back(std::log1p((without + 0.5) / (with + 0.5)));
  }
}

std::unordered_set<int64_t> TextSearcher::allowed_documents(const TextQuery& query) {
  if (query.path_globs.empty()) {
    return members_;
  }
  std::unordered_set<int64_t> allowed;
  Query q = db_.query(
      "SELECT d.number, d.path FROM generation_documents g JOIN documents d ON d.number = "
      "g.document WHERE g.generation = ?1",
      generation_);
  while (q.step()) {
    const std::string path = q.string(1);
    if (std::ranges::any_of(query.path_globs, [&](const std::string& glob) {
          return ::fnmatch(glob.c_str(), path.c_str(), 0) == 0;
        })) {
      allowed.insert(q.integer(0));
    }
  }
  return allowed;
}

std::vector<TextHit> TextSearcher::search(const TextQuery& query) {
  OB_REQUIRE(query.top_k > 0, InvalidArgument, "a search for the best {} passages", query.top_k);
  refresh();
  const std::vector<Word> words = choose(query.text);
  std::vector<TextHit> hits;
  if (words.empty()) {
    return hits;
  }
  prepare_scoring(words);
  const bool is_filtered = !all_are_members_ || !query.path_globs.empty();
  const auto allowed = is_filtered ? allowed_documents(query) : std::unordered_set<int64_t>();
  const auto is_better = [](const TextHit& a, const TextHit& b) {
    return a.score != b.score ? a.score > b.score : a.passage_id < b.passage_id;
  };
  Query q = db_.query(
      fmt::format("SELECT rowid, {}(passage_text) FROM passage_text WHERE passage_text MATCH ?1",
                  function_),
      match_expression(words));
  while (q.step()) {  // hits is a heap with the worst in front
    const TextHit hit{.passage_id = q.integer(0), .score = q.real(1)};
    if (is_filtered && !allowed.contains(document_of(hit.passage_id))) {
      continue;
    }
    if (std::ssize(hits) == query.top_k) {
      if (!is_better(hit, hits.front())) {
        continue;
      }
      std::ranges::pop_heap(hits, is_better);
      hits.pop_back();
    }
    hits.push_back(hit);
    std::ranges::push_heap(hits, is_better);
  }
  std::ranges::sort(hits, is_better);
  return hits;
}

}  // namespace offbook::store
