#include "src/compress/beacon/task_mix.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "src/base/error.h"
#include "src/base/json_fields.h"

namespace offbook::compress {
namespace {

constexpr int32_t kShortestContext = 64;  // tokens; shorter documents are not drawn

TaskKind kind_of(ExampleKind kind) {
  switch (kind) {
    case ExampleKind::given:
      return TaskKind::given;
    case ExampleKind::asked:
      return TaskKind::asked;
    case ExampleKind::cloze:
      return TaskKind::cloze;
    case ExampleKind::keywords:
      return TaskKind::keywords;
  }
  return TaskKind::given;
}

size_t choose(const std::vector<double>& ends, Random& random) {
  const double at = random.uniform() * ends.back();
  const auto found = std::upper_bound(ends.begin(), ends.end(), at);
  return std::min(static_cast<size_t>(found - ends.begin()), ends.size() - 1);
}

int32_t between(Random& random, int32_t low, int32_t high) {
  return low +
         static_cast<int32_t>(random.below(static_cast<uint64_t>(std::max(0, high - low)) + 1));
}

template <typename T>
void shuffle(std::vector<T>& values, Random& random) {
  for (size_t i = 0; i + 1 < values.size(); ++i) {
    std::swap(values[i], values[i + random.below(values.size() - i)]);
  }
}

// Visits every field of a mix with its name.
template <typename Mix, typename Visit>
void each_field(Mix& m, const Visit& visit) {
  visit("windows", m.windows);
  visit("segment_shares", m.segment_shares);
  visit("shortest_segment", m.shortest_segment);
  visit("longest_segment", m.longest_segment);
  visit("continuation", m.continuation);
  visit("taught_share", m.taught_share);
  visit("longest_taught", m.longest_taught);
  visit("given_share", m.given_share);
  visit("given_context", m.given_context);
  visit("given_questions", m.given_questions);
  visit("rule_questions", m.rule_questions);
  visit("ratios", m.ratios);
  visit("ratio_shares", m.ratio_shares);
  visit("recall_spans", m.recall_spans);
  visit("recall_length", m.recall_length);
  visit("recall_cue", m.recall_cue);
  visit("recall_token", m.recall_token);
  visit("restored_share", m.restored_share);
  visit("restored", m.restored);
  visit("joined_share", m.joined_share);
  visit("picked_share", m.picked_share);
  visit("shuffled_share", m.shuffled_share);
  visit("shortest_run", m.shortest_run);
  visit("longest_run", m.longest_run);
  visit("most_runs", m.most_runs);
  visit("raw_share", m.raw_share);
  visit("longest_raw", m.longest_raw);
  visit("turn_share", m.turn_share);
  visit("lead_share", m.lead_share);
  visit("weights", m.weights);
  visit("first_weight", m.first_weight);
}

void check(const TaskMix& m, const std::string& where) {
  const auto is_share = [](double s) { return s >= 0 && s <= 1; };
  const double ratios = std::accumulate(m.ratio_shares.begin(), m.ratio_shares.end(), 0.0);
  const double segments = std::accumulate(m.segment_shares.begin(), m.segment_shares.end(), 0.0);
  OB_REQUIRE(m.windows >= 1 && m.windows <= 4096, InvalidArgument, "{}: {} windows", where,
             m.windows);
  OB_REQUIRE(m.shortest_segment >= 1 && m.longest_segment >= m.shortest_segment, InvalidArgument,
             "{}: segments of {} to {} tokens", where, m.shortest_segment, m.longest_segment);
  OB_REQUIRE(m.continuation >= 2 && m.given_context >= kShortestContext, InvalidArgument,
             "{}: a continuation of {} and given_context of {}", where, m.continuation,
             m.given_context);
  OB_REQUIRE(segments > 0, InvalidArgument, "{}: segment_shares add up to {}", where, segments);
  OB_REQUIRE(!m.ratios.empty() && m.ratios.front() >= 1 &&
                 std::adjacent_find(m.ratios.begin(), m.ratios.end(), std::greater_equal<>()) ==
                     m.ratios.end() &&
                 m.ratio_shares.size() == m.ratios.size() && ratios <= 1 + 1e-9,
             InvalidArgument, "{}: ratios {} with shares {}: rising, one share each, 1 in sum",
             where, fmt::join(m.ratios, ","), fmt::join(m.ratio_shares, ","));
  OB_REQUIRE(m.recall_spans >= 0 && m.recall_cue >= 0 && m.recall_length > m.recall_cue + 1,
             InvalidArgument, "{}: {} recalled spans of {} tokens after {}", where, m.recall_spans,
             m.recall_length, m.recall_cue);
  OB_REQUIRE(m.restored > m.recall_cue + 1, InvalidArgument, "{}: {} restored tokens after {}",
             where, m.restored, m.recall_cue);
  OB_REQUIRE(is_share(m.given_share) && is_share(m.joined_share) && is_share(m.picked_share) &&
                 m.joined_share + m.picked_share <= 1 && is_share(m.shuffled_share) &&
                 is_share(m.raw_share) && is_share(m.turn_share) && is_share(m.lead_share) &&
                 is_share(m.taught_share) && is_share(m.restored_share),
             InvalidArgument, "{}: shares lie in [0, 1], joined and picked together too", where);
  OB_REQUIRE(m.shortest_run >= 1 && m.longest_run >= m.shortest_run && m.most_runs >= 1 &&
                 m.longest_raw >= 1,
             InvalidArgument, "{}: {} runs of {} to {} tokens, raw text of {}", where, m.most_runs,
             m.shortest_run, m.longest_run, m.longest_raw);
  OB_REQUIRE(m.weights.size() == kTaskKinds &&
                 std::all_of(m.weights.begin(), m.weights.end(),
                             [](float w) { return w >= 0 && std::isfinite(w); }) &&
                 m.first_weight >= 0,
             InvalidArgument, "{}: {} weights, one for each of {} kinds, none below 0", where,
             m.weights.size(), kTaskKinds);
}

}  // namespace

std::string_view to_string(TaskKind kind) noexcept {
  constexpr std::string_view kNames[kTaskKinds] = {"continuation", "recall", "given",
                                                   "asked",        "cloze",  "keywords"};
  return kNames[static_cast<size_t>(kind)];
}

TaskMix read_mix(const nlohmann::json& json, const std::string& where) {
  OB_REQUIRE(json.is_object(), InvalidArgument, "{}: a mix is an object", where);
  TaskMix mix;
  nlohmann::json left = json;
  left.erase("about");
  each_field(mix, [&](const char* name, auto& field) {
    const auto at = left.find(name);
    if (at == left.end()) {
      return;
    }
    try {
      at->get_to(field);
    } catch (const nlohmann::json::exception&) {
      OB_THROW(InvalidArgument, "{}: field {} cannot be {}", where, name, at->dump());
    }
    left.erase(at);
  });
  OB_REQUIRE(left.empty(), InvalidArgument, "{}: unknown field {}", where,
             printable(left.begin().key()));
  check(mix, where);
  return mix;
}

nlohmann::json to_json(const TaskMix& mix) {
  nlohmann::json out;
  each_field(mix, [&](const char* name, const auto& field) { out[name] = field; });
  return out;
}

// A stretch of a document and the sources its segments became.
struct TaskSampler::Window {
  const TrainingDocument* document = nullptr;
  int32_t begin = 0, context = 0, continuation = 0;
  int32_t ratio = 8;
  bool has_given = false;
  bool is_restored = false;
  std::vector<int32_t> sources;
  std::vector<int32_t> segment_begins;  // in the document

  int32_t end() const { return begin + context; }
};

// One batch being drawn.
class TaskSampler::Draw {
 public:
  Draw(const TaskSampler& from, uint64_t seed)
      : set_(from.set_), mix_(from.mix_), from_(from), random_(seed) {}

  ReadingBatch run() {
    for (int32_t i = 0; i < mix_.windows; ++i) {
      windows_.push_back(window());
    }
    lead_ = static_cast<int32_t>(batch_.sources.size());
    if (!set_.lead.empty()) {
      batch_.sources.push_back({.tokens = set_.lead, .ratio = 0, .has_sink = false});
    }
    for (size_t i = 0; i < windows_.size(); ++i) {
      read(windows_[i], windows_[(i + 1) % windows_.size()]);
    }
    return std::move(batch_);
  }

 private:
  bool chance(double share) { return random_.uniform() < share; }

  int32_t ratio() {
    double left = random_.uniform();
    for (size_t i = 0; i < mix_.ratios.size(); ++i) {
      left -= mix_.ratio_shares[i];
      if (left < 0) {
        return mix_.ratios[i];
      }
    }
    return between(random_, mix_.ratios.front(), mix_.ratios.back());
  }

  std::vector<int32_t> lengths() {
    std::vector<double> ends;
    for (const double share : mix_.segment_shares) {
      ends.push_back(share + (ends.empty() ? 0 : ends.back()));
    }
    std::vector<int32_t> out;
    const size_t count = choose(ends, random_) + 1;
    for (size_t i = 0; i < count; ++i) {
      out.push_back(between(random_, mix_.shortest_segment, mix_.longest_segment));
    }
    return out;
  }

  Window window() {
    if (mix_.restored_share > 0 && chance(mix_.restored_share)) {
      return restored_window();
    }
    Window w{.ratio = ratio(), .has_given = !from_.given_.empty() && chance(mix_.given_share)};
    std::vector<int32_t> wanted = lengths();
    const size_t at = w.has_given ? from_.given_[choose(from_.given_ends_, random_)]
                                  : choose(from_.text_ends_, random_);
    w.document = &set_.documents[at];
    const auto size = static_cast<int32_t>(w.document->tokens.size());
    const int32_t sum = std::accumulate(wanted.begin(), wanted.end(), 0);
    if (w.has_given) {
      w.context = std::min(size, mix_.given_context);
      w.begin = given_begin(*w.document, size, w.context);
      w.continuation = std::min(mix_.continuation, size - w.end());
    } else {
      w.continuation = std::min(mix_.continuation, size / 4);
      w.context = std::min(sum, size - w.continuation);
      w.begin = between(random_, 0, size - w.continuation - w.context);
    }
    cut(w, wanted, sum);
    return w;
  }

  Window restored_window() {
    Window w{.document = &set_.documents[choose(from_.text_ends_, random_)],
             .ratio = mix_.ratios.front(),
             .is_restored = true};
    const auto size = static_cast<int32_t>(w.document->tokens.size());
    w.context = std::min({mix_.restored, mix_.longest_segment, size});
    w.begin = between(random_, 0, size - w.context);
    cut(w, {w.context}, w.context);
    return w;
  }

  // So that a question drawn at random has its evidence inside.
  int32_t given_begin(const TrainingDocument& document, int32_t size, int32_t context) {
    if (size <= context) {
      return 0;
    }
    const TrainingExample& e = document.examples[random_.below(document.examples.size())];
    const int32_t middle = (e.evidence_begin + e.evidence_end) / 2;
    return std::clamp(middle - between(random_, context / 8, context * 7 / 8), 0, size - context);
  }

  // Segments in the proportions that were drawn, none longer than the longest.
  void cut(Window& w, std::vector<int32_t> wanted, int32_t sum) {
    const int32_t least = (w.context + mix_.longest_segment - 1) / mix_.longest_segment;
    if (w.context != sum) {
      if (static_cast<int32_t>(wanted.size()) < least || w.context < sum) {
        wanted.assign(
            static_cast<size_t>(std::max(least, std::min(static_cast<int32_t>(wanted.size()),
                                                         w.context / mix_.shortest_segment))),
            1);
      }
      const int32_t parts = std::accumulate(wanted.begin(), wanted.end(), 0);
      int32_t at = 0;
      int32_t before = 0;
      for (int32_t& length : wanted) {
        at += length;
        const auto end = static_cast<int32_t>(static_cast<int64_t>(w.context) * at / parts);
        length = std::min(end - before, mix_.longest_segment);
        before += length;
      }
      w.context = before;
    }
    int32_t begin = w.begin;
    for (const int32_t length : wanted) {
      w.sources.push_back(static_cast<int32_t>(batch_.sources.size()));
      w.segment_begins.push_back(begin);
      batch_.sources.push_back({.tokens = tokens(w, begin, begin + length), .ratio = w.ratio});
      begin += length;
    }
  }

  std::vector<int32_t> tokens(const Window& w, int32_t begin, int32_t end) const {
    return {w.document->tokens.begin() + begin, w.document->tokens.begin() + end};
  }

  // What stands in front of the slots: the prompt's beginning or the first slots' own sink.
  void begin_memory(Memory& memory, bool has_lead, int32_t first_source) {
    if (has_lead && lead_ < static_cast<int32_t>(batch_.sources.size())) {
      memory.pieces.push_back(batch_.all_of(lead_, true));
    } else {
      memory.pieces.push_back({first_source, {0}});
    }
  }

  void add_slots(Memory& memory, const Window& w) {
    for (const int32_t source : w.sources) {
      memory.pieces.push_back(batch_.all_of(source, false));
    }
  }

  int32_t add(Memory memory) {
    batch_.memories.push_back(std::move(memory));
    return static_cast<int32_t>(batch_.memories.size()) - 1;
  }

  int32_t whole(const Window& w, bool has_lead) {
    Memory memory;
    begin_memory(memory, has_lead, w.sources.front());
    add_slots(memory, w);
    return add(std::move(memory));
  }

  int32_t joined(const Window& w, const Window& other, bool has_lead) {
    Memory memory;
    begin_memory(memory, has_lead, w.sources.front());
    const bool is_first = chance(0.5);
    add_slots(memory, is_first ? w : other);
    add_slots(memory, is_first ? other : w);
    return add(std::move(memory));
  }

  struct Run {
    int32_t begin = 0, end = 0;  // tokens of the document
  };

  // Runs of the window's text that hold [begin, end) and some others.
  std::vector<Run> runs(const Window& w, int32_t begin, int32_t end) {
    const int32_t length = between(random_, mix_.shortest_run, mix_.longest_run);
    std::vector<Run> with;
    std::vector<Run> without;
    for (size_t s = 0; s < w.sources.size(); ++s) {
      const int32_t first = w.segment_begins[s];
      const int32_t last =
          first +
          static_cast<int32_t>(batch_.sources[static_cast<size_t>(w.sources[s])].tokens.size());
      for (int32_t at = first; at < last; at += length) {
        const Run run{at, std::min(at + length, last)};
        (run.begin < end && begin < run.end ? with : without).push_back(run);
      }
    }
    shuffle(without, random_);
    const auto more = static_cast<size_t>(between(random_, 0, mix_.most_runs - 1));
    with.insert(with.end(), without.begin(),
                without.begin() + static_cast<std::ptrdiff_t>(std::min(more, without.size())));
    if (chance(mix_.shuffled_share)) {
      shuffle(with, random_);
    } else {
      std::sort(with.begin(), with.end(),
                [](const Run& a, const Run& b) { return a.begin < b.begin; });
    }
    return with;
  }

  int32_t picked(const Window& w, int32_t begin, int32_t end, bool has_lead) {
    Memory memory;
    begin_memory(memory, has_lead, w.sources.front());
    std::vector<std::vector<bool>> used(w.sources.size());
    for (const Run& run : runs(w, begin, end)) {
      size_t s = w.sources.size() - 1;
      while (w.segment_begins[s] > run.begin) {
        --s;
      }
      const int32_t first = (run.begin - w.segment_begins[s]) / w.ratio;
      const int32_t last = (run.end - 1 - w.segment_begins[s]) / w.ratio;
      used[s].resize(static_cast<size_t>(batch_.rows_of(w.sources[s])));
      MemoryPiece piece{.source = w.sources[s]};
      for (int32_t slot = first; slot <= last; ++slot) {
        // Runs that meet inside one slot give it once.
        if (!used[s][static_cast<size_t>(slot)]) {
          used[s][static_cast<size_t>(slot)] = true;
          piece.rows.push_back(slot + 1);
        }
      }
      memory.pieces.push_back(std::move(piece));
    }
    return add(std::move(memory));
  }

  // The memory for something that rests on tokens [begin, end) of the document.
  int32_t memory_for(const Window& w, const Window& other, int32_t begin, int32_t end,
                     bool has_lead) {
    const double at = random_.uniform();
    if (at < mix_.joined_share && &other != &w) {
      return joined(w, other, has_lead);
    }
    if (at < mix_.joined_share + mix_.picked_share && end > begin) {
      return picked(w, begin, end, has_lead);
    }
    int32_t& known = has_lead ? whole_lead_ : whole_sink_;
    return known >= 0 ? known : known = whole(w, has_lead);
  }

  std::vector<int32_t> raw_between() {
    if (!chance(mix_.raw_share)) {
      return {};
    }
    const TrainingDocument& d = set_.documents[choose(from_.text_ends_, random_)];
    const auto size = static_cast<int32_t>(d.tokens.size());
    const int32_t length = std::min(size, between(random_, 8, std::max(8, mix_.longest_raw)));
    const int32_t begin = between(random_, 0, size - length);
    return {d.tokens.begin() + begin, d.tokens.begin() + begin + length};
  }

  float weight(TaskKind kind) const { return mix_.weights[static_cast<size_t>(kind)]; }

  void read(const Window& w, const Window& other) {
    whole_sink_ = whole_lead_ = -1;
    if (w.is_restored && w.context > mix_.recall_cue + 1) {
      recall(w, whole(w, false), {}, w.begin, w.end());
    }
    if (w.is_restored) {
      return;
    }
    if (w.continuation >= 2 && weight(TaskKind::continuation) > 0) {
      whole_sink_ = whole(w, false);
      batch_.readings.push_back({.memory = whole_sink_,
                                 .tokens = tokens(w, w.end(), w.end() + w.continuation),
                                 .weight = weight(TaskKind::continuation),
                                 .kind = static_cast<int32_t>(TaskKind::continuation)});
      if (mix_.taught_share > 0 && w.context <= mix_.longest_taught && chance(mix_.taught_share)) {
        std::vector<int32_t>& raw = batch_.readings.back().teacher_text;
        raw = {kSink};
        append(raw, tokens(w, w.begin, w.end()));
      }
    }
    for (int32_t i = 0; i < mix_.recall_spans && weight(TaskKind::recall) > 0; ++i) {
      recall_somewhere(w, other);
    }
    ask(w, other);
  }

  void recall_somewhere(const Window& w, const Window& other) {
    const int32_t length = std::min(mix_.recall_length, w.context) - 1;
    if (length <= mix_.recall_cue + 1) {
      return;
    }
    const int32_t begin = between(random_, w.begin, w.end() - length);
    const int32_t memory = memory_for(w, other, begin, begin + length, false);
    recall(w, memory, raw_between(), begin, begin + length);
  }

  // Tokens [begin, end) of the document, asked for behind `first` by the recall token and the cue.
  void recall(const Window& w, int32_t memory, std::vector<int32_t> first, int32_t begin,
              int32_t end) {
    Reading r{.memory = memory,
              .tokens = std::move(first),
              .weight = weight(TaskKind::recall),
              .kind = static_cast<int32_t>(TaskKind::recall)};
    r.tokens.push_back(mix_.recall_token);
    r.first_target = static_cast<int32_t>(r.tokens.size()) + mix_.recall_cue;
    append(r.tokens, tokens(w, begin, end));
    batch_.readings.push_back(std::move(r));
  }

  void ask(const Window& w, const Window& other) {
    std::vector<const TrainingExample*> inside;
    for (const TrainingExample& e : w.document->examples) {
      const bool is_known = e.evidence_end > e.evidence_begin;
      const bool is_whole = w.context == static_cast<int32_t>(w.document->tokens.size());
      if (weight(kind_of(e.kind)) > 0 &&
          (is_known ? e.evidence_begin >= w.begin && e.evidence_end <= w.end() : is_whole) &&
          (!w.has_given || e.kind == ExampleKind::given)) {
        inside.push_back(&e);
      }
    }
    shuffle(inside, random_);
    const auto most = static_cast<size_t>(w.has_given ? mix_.given_questions : mix_.rule_questions);
    const TrainingExample* before = nullptr;
    for (size_t i = 0; i < std::min(most, inside.size()); ++i) {
      const TrainingExample& e = *inside[i];
      const TaskKind kind = kind_of(e.kind);
      Reading r{
          .memory = memory_for(w, other, e.evidence_begin, e.evidence_end, chance(mix_.lead_share)),
          .tokens = raw_between(),
          .weight = weight(kind),
          .first_weight = mix_.first_weight,
          .kind = static_cast<int32_t>(kind)};
      if (before != nullptr && chance(mix_.turn_share)) {
        append(r.tokens, before->question);
        append(r.tokens, before->answer);
        append(r.tokens, from_.turn_);
      }
      append(r.tokens, e.question);
      r.first_target = static_cast<int32_t>(r.tokens.size());
      append(r.tokens, e.answer);
      batch_.readings.push_back(std::move(r));
      before = &e;
    }
  }

  static void append(std::vector<int32_t>& to, const std::vector<int32_t>& tokens) {
    to.insert(to.end(), tokens.begin(), tokens.end());
  }

  const TrainingSet& set_;
  const TaskMix& mix_;
  const TaskSampler& from_;
  Random random_;
  ReadingBatch batch_;
  std::vector<Window> windows_;
  int32_t lead_ = 0;
  int32_t whole_sink_ = -1, whole_lead_ = -1;  // of the window at hand
};

TaskSampler::TaskSampler(const TrainingSet& set, const TaskMix& mix) : set_(set), mix_(mix) {
  check(mix_, "task mix");
  double text = 0;
  double given = 0;
  std::optional<int32_t> end_of_answer;
  for (size_t i = 0; i < set.documents.size(); ++i) {
    const TrainingDocument& d = set.documents[i];
    const auto size = static_cast<int32_t>(d.tokens.size());
    text += size >= 2 * kShortestContext ? d.weight * size : 0;
    text_ends_.push_back(text);
    const auto count = std::count_if(d.examples.begin(), d.examples.end(),
                                     [](const auto& e) { return e.kind == ExampleKind::given; });
    if (count > 0 && size >= kShortestContext) {
      given += d.weight * std::sqrt(static_cast<double>(count));
      given_.push_back(i);
      given_ends_.push_back(given);
    }
    if (!d.examples.empty()) {
      end_of_answer = d.examples.front().answer.back();
    }
  }
  OB_REQUIRE(text > 0, InvalidArgument, "{} documents, none of {} tokens or more",
             set.documents.size(), 2 * kShortestContext);
  if (end_of_answer) {
    const auto last = std::find(set.lead.rbegin(), set.lead.rend(), *end_of_answer);
    turn_.assign(last.base(), set.lead.end());
  }
}

ReadingBatch TaskSampler::draw(uint64_t seed) const {
  return Draw(*this, seed).run();
}

}  // namespace offbook::compress
