// Which documents share an adapter: a name for each, from its path.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/base/file_system.h"
#include "src/learn/training_set.h"
#include "src/store/corpus.h"

namespace offbook::learn {

// A generation remembers it as JSON, so that documents that come later have their group at once.
class Grouping {
 public:
  // Documents matching a shell pattern ('*' also matches '/').
  struct Rule {
    std::string pattern, group;
  };

  Grouping() = default;  // no groups: "" for every document
  // A document's folder within the folder that was learned, the outermost; "" for those that lie in
  // none.
  static Grouping by_folder();
  // The first rule that matches; "" for none.
  static Grouping by_rules(std::vector<Rule> rules);
  // "none", "folder", or a .csv or .tsv file whose first record names the columns file (a path or a
  // pattern) and group. Errors name file and line: Unsupported (another extension), Corrupt
  // (a column missing), InvalidArgument (no rule).
  static Grouping parse(FileSystem& fs, const std::string& text);

  std::string group_of(std::string_view path) const;
  bool is_none() const { return kind_ == Kind::none; }

  nlohmann::json to_json() const;
  static Grouping from_json(const nlohmann::json& json);  // null and unknown forms: no groups

 private:
  enum class Kind : uint8_t { none, folder, rules };
  Kind kind_ = Kind::none;
  std::vector<Rule> rules_;
};

// What a generation was learned with; no groups for one without.
Grouping grouping_of(store::Corpus& corpus, int64_t generation);

// Groups of a generation's documents, by document id.
std::map<std::string, std::string> groups_of_documents(store::Corpus& corpus, int64_t generation,
                                                       const Grouping& grouping);

// Examples that train one adapter.
struct GroupedExamples {
  std::string group;  // "": the combined one
  ExampleSplit split;
  double share = 1;  // of all that is trained
};

// A group with at least `fewest` training examples has an adapter of its own. Where a document
// belongs to none of these, a combined one is trained too, on all examples: it answers for the
// rest. The combined one comes first, then groups by name; one group alone is no group.
std::vector<GroupedExamples> split_by_group(const ExampleSplit& split,
                                            const std::map<std::string, std::string>& groups,
                                            size_t fewest);

// A guess: six batches of eight. Not measured against others.
inline constexpr size_t kFewestGroupExamples = 48;

}  // namespace offbook::learn
