#include "src/retrieve/retriever.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fnmatch.h>

#include "src/retrieve/content_words.h"
#include "src/retrieve/fusion.h"

namespace offbook::retrieve {
namespace {

void normalise(std::vector<float>& v) {
  double sum = 0;
  for (const float x : v) {
    sum += static_cast<double>(x) * x;
  }
  const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
  for (float& x : v) {
    x = static_cast<float>(x * scale);
  }
}

template <typename Hits>
std::vector<int64_t> ids_of(const Hits& hits) {
  std::vector<int64_t> ids;
  for (const auto& hit : hits) {
    ids.push_back(hit.passage_id);
  }
  return ids;
}

}  // namespace

Mode mode_named(std::string_view name) {
  if (name == "hybrid") {
    return Mode::hybrid;
  }
  if (name == "words") {
    return Mode::words;
  }
  OB_REQUIRE(name == "meaning", InvalidArgument,
             "a search mode is hybrid, words or meaning, not \"{}\"", name);
  return Mode::meaning;
}

Retriever::Retriever(store::Corpus& corpus, int64_t generation, model::SentenceEncoder& encoder,
                     const std::string& encoder_fingerprint, const backend::ExecutionContext& ctx,
                     const RetrieverOptions& options)
    : corpus_(corpus), encoder_(encoder), words_(corpus, generation), cutter_(corpus.db()) {
  for (const store::StoredDocument& d : corpus.documents().list(generation)) {
    names_[d.number] = {d.document.path, d.document.title};
  }
  const auto missing = corpus.vectors().missing(generation, encoder_fingerprint);
  OB_REQUIRE(missing.empty(), InvalidArgument,
             "{} of {} documents have no vectors of this sentence encoder yet; run `offbook index`",
             missing.size(), names_.size());
  const auto blocks = corpus.vectors().load(generation, encoder_fingerprint);
  index_ = std::make_unique<DenseIndex>(ctx, blocks, encoder.dim(), options.exact_up_to);
}

std::vector<int64_t> Retriever::matching_documents(const std::vector<std::string>& globs) const {
  std::vector<int64_t> numbers;
  for (const auto& [number, name] : names_) {
    const bool matches = std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
      return ::fnmatch(glob.c_str(), name.path.c_str(), 0) == 0;
    });
    if (matches) {
      numbers.push_back(number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  OB_REQUIRE(!numbers.empty(), NotFound, "no document's path matches {}", fmt::join(globs, " or "));
  return numbers;
}

std::vector<std::string> Retriever::windows_of(const std::string& text) const {
  const auto encoding = encoder_.tokenizer().encode(text, {.add_special = false});
  const auto room = static_cast<size_t>(encoder_.window() - 2);  // [CLS] and [SEP]
  std::vector<std::string> windows;
  // A window cut out of the text may tokenise to a few pieces more; an eighth is kept free for it.
  const size_t step = encoding.ids.size() <= room ? room : room - room / 8;
  for (size_t begin = 0; begin < encoding.ids.size(); begin += step) {
    const size_t end = std::min(begin + step, encoding.ids.size());
    const uint64_t from = encoding.spans[begin].begin;
    windows.push_back(text.substr(from, encoding.spans[end - 1].end - from));
  }
  return windows;
}

std::vector<float> Retriever::encode(const std::string& text) {
  const std::vector<std::string> windows = windows_of(text);
  std::vector<float> mean(static_cast<size_t>(encoder_.dim()));
  if (windows.empty()) {
    return mean;
  }
  const std::vector<std::string_view> views(windows.begin(), windows.end());
  const Tensor vectors = encoder_.encode(views);
  for (int64_t i = 0; i < vectors.numel(); ++i) {
    mean[static_cast<size_t>(i % encoder_.dim())] += vectors.data<float>()[i];
  }
  normalise(mean);
  return mean;
}

double Retriever::word_share(const std::string& question, const RankedPassage& ranked) const {
  const auto wanted = content_words(cutter_, question);
  const auto there = content_words(cutter_, ranked.passage.text);
  std::vector<std::string> found;
  std::set_intersection(wanted.begin(), wanted.end(), there.begin(), there.end(),
                        std::back_inserter(found));
  return wanted.empty() ? 0
                        : static_cast<double>(found.size()) / static_cast<double>(wanted.size());
}

Retrieval Retriever::retrieve(const std::string& question, const RetrieveOptions& options) {
  OB_REQUIRE(question.find_first_not_of(" \t\r\n") != std::string::npos, InvalidArgument,
             "the question is empty");
  OB_REQUIRE(options.top_k >= 1, InvalidArgument, "a search gives at least 1 passage, not {}",
             options.top_k);
  const int candidates = std::max(options.candidates, options.top_k);
  Retrieval out;
  std::vector<int64_t> allowed;
  if (!options.path_globs.empty()) {
    allowed = matching_documents(options.path_globs);
  }
  std::vector<store::TextHit> by_words;
  if (options.mode != Mode::meaning) {
    by_words =
        words_.search({.text = question, .top_k = candidates, .path_globs = options.path_globs});
  }
  out.words = words_.words(question);
  std::vector<DenseHit> by_meaning;
  if (options.mode != Mode::words) {
    out.query_vector = encode(question);
    by_meaning = index_->search(out.query_vector, candidates,
                                options.path_globs.empty() ? nullptr : &allowed);
    out.best_cosine = by_meaning.empty() ? 0 : by_meaning.front().cosine;
  }
  const std::vector<std::vector<int64_t>> rankings{ids_of(by_words), ids_of(by_meaning)};
  const double weights[] = {1.0, 1.0};
  for (const Fused& f : reciprocal_rank_fusion(rankings, weights)) {
    if (static_cast<int>(out.passages.size()) == options.top_k) {
      break;
    }
    RankedPassage ranked{.passage = corpus_.documents().passage(f.id), .score = f.score};
    const DocumentName& name = names_.at(store::document_of(f.id));
    ranked.path = name.path;
    ranked.title = name.title;
    ranked.text_rank = f.ranks[0];
    ranked.dense_rank = f.ranks[1];
    ranked.bm25 = f.ranks[0] ? by_words[static_cast<size_t>(*f.ranks[0] - 1)].score : 0;
    ranked.cosine =
        f.ranks[1] ? static_cast<double>(by_meaning[static_cast<size_t>(*f.ranks[1] - 1)].cosine)
                   : 0;
    out.passages.push_back(std::move(ranked));
  }
  for (const RankedPassage& p : out.passages) {
    out.word_share = std::max(out.word_share, word_share(question, p));
  }
  return out;
}

}  // namespace offbook::retrieve
