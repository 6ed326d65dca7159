// Compressed documents in a prompt: whose slots, which of them, and as which parts.
#pragma once
#include <list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/answer/focus.h"
#include "src/answer/prompt_runner.h"
#include "src/compress/compressor.h"
#include "src/store/corpus.h"

namespace offbook::answer {

enum class SlotUse : uint8_t {
  automatic,  // of documents whose measured fidelity allows it
  always,     // of every document
  never,
  only,  // of every document, in place of raw passages: what fidelity is measured with
};

// "auto", "always", "never", "only"; InvalidArgument for another name.
SlotUse slot_use_named(std::string_view name);

struct SlotOptions {
  SlotUse use = SlotUse::automatic;
  // Of the budget of focus: what slots may take from raw passages. 64 of 640 tokens stand for
  // 1,024 at 16×.
  double share = 0.1;
};

// A passage that is in a prompt by its slots.
struct SlotPassage {
  int64_t document = 0;
  std::string path;
  int ordinal = 0;
  ByteSpan span;
  int slots = 0;  // picked by its span; those at its edges may also be a neighbour's
};

// Slots of several documents, joined.
struct SlotText {
  std::vector<SlotPassage> passages;  // as they were chosen, best first
  Prompt parts;                       // in order of documents and their text, one sink
  int tokens = 0;                     // positions of `parts`
};

// Reads contexts of one recipe from a corpus; makes those that are not there from the text. Keeps
// the last ones it read in memory. Not thread-safe; all that it is given must outlive it.
class SlotSource {
 public:
  struct Config {
    store::ContextRecipe recipe;
    // Ratios of the documents where each has its own; 0 and absent: it has no slots. Empty: all
    // have the recipe's.
    std::map<int64_t, double> ratios;
    std::set<int64_t> trusted;  // documents whose fidelity allows slots
    size_t kept_contexts = 32;  // in memory: 2 MB each for SmolLM2 at 16×
  };
  // A context that was not in the corpus.
  struct Made {
    int64_t document = 0;
    Segment segment;
    CompressedContext context;
  };

  // `ctx` is what missing contexts are made with. InvalidArgument for a query-aware method: it has
  // no contexts.
  SlotSource(store::Corpus& corpus, const compress::Compressor& compressor,
             const compress::BaseModel& base, const backend::ExecutionContext& ctx, Config config);

  bool has_any(SlotUse use) const;
  bool may_use(int64_t document, SlotUse use) const;

  // Slots of the passages found that are not in `raw`, then of their neighbours, as long as
  // `budget_tokens` and `max_passages` allow. Errors of the store and of the compressor.
  SlotText choose(std::span<const retrieve::RankedPassage> ranked, std::span<const FocusText> raw,
                  SlotUse use, int budget_tokens, int max_passages);

  // Adapter under which the prompt must be read; null: whatever reads.
  const model::LoraAdapter* reader_adapter() const { return compressor_.reader_adapter(); }
  const store::ContextRecipe& recipe() const { return config_.recipe; }
  store::ContextRecipe recipe_of(int64_t document) const;

  // Since the last call: what had to be made, and which segments were used (document, ordinal), so
  // that a writer can store both.
  std::vector<Made> take_made() { return std::exchange(made_, {}); }
  std::vector<std::pair<int64_t, int>> take_used() { return std::exchange(used_, {}); }

 private:
  struct Candidate {
    int64_t document = 0;
    std::string path;
    int ordinal = 0;
  };
  struct Loaded {
    std::string key;  // of the context
    Segment segment;
    CompressedContext context;
  };
  using Place = std::pair<int64_t, int>;  // document, segment

  std::vector<Candidate> candidates(std::span<const retrieve::RankedPassage> ranked,
                                    std::span<const FocusText> raw, SlotUse use);
  // What is picked of one segment.
  struct Picked {
    std::shared_ptr<const Loaded> from;
    std::set<int32_t> slots;
    double positions = 0;
  };
  std::shared_ptr<const Loaded> load(int64_t document, int passage_ordinal);
  SlotText join(const std::map<Place, Picked>& picked);

  store::Corpus& corpus_;
  const compress::Compressor& compressor_;
  const compress::BaseModel& base_;
  backend::ExecutionContext ctx_;
  Config config_;
  std::list<std::pair<int64_t, std::shared_ptr<const Loaded>>>
      loaded_;  // by document, newest first
  std::vector<Made> made_;
  std::vector<std::pair<int64_t, int>> used_;
};

}  // namespace offbook::answer
