#include "src/learn/grouping.h"

#include <algorithm>
#include <set>

#include <fnmatch.h>

#include "src/base/json_fields.h"
#include "src/ingest/csv.h"
#include "src/ingest/encoding.h"

namespace offbook::learn {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxRuleBytes = uint64_t{64} << 20;

std::vector<Grouping::Rule> read_rules(FileSystem& fs, const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  OB_REQUIRE(extension == ".csv" || extension == ".tsv", Unsupported,
             "groups are none, folder or a .csv or .tsv file, not {}", file.string());
  const auto bytes = fs.open(file);
  OB_REQUIRE(bytes->bytes().size() <= kMaxRuleBytes, Unsupported,
             "{}: {} bytes; a file of groups has at most {}", file.string(), bytes->bytes().size(),
             kMaxRuleBytes);
  const std::string text = ingest::decode_text(bytes->bytes()).text;
  ingest::CsvParser parser(text, ingest::guess_delimiter(text));
  ingest::CsvRecord names;
  ingest::CsvRecord values;
  parser.next(names);
  const auto column = [&](std::string_view name) {
    const auto at = std::find(names.begin(), names.end(), name);
    OB_REQUIRE(at != names.end(), Corrupt,
               "{}, line 1: the first line names the columns; wanted file and group, got {}",
               file.string(), printable(fmt::format("{}", fmt::join(names, ", "))));
    return static_cast<size_t>(at - names.begin());
  };
  const size_t pattern = column("file");
  const size_t group = column("group");
  std::vector<Grouping::Rule> rules;
  while (parser.next(values)) {
    OB_REQUIRE(values.size() > std::max(pattern, group), Corrupt, "{}, line {}: {} fields of {}",
               file.string(), parser.line_of_record(), values.size(), names.size());
    rules.push_back({values[pattern], values[group]});
  }
  OB_REQUIRE(!rules.empty(), InvalidArgument, "{} names no group", file.string());
  return rules;
}

}  // namespace

Grouping Grouping::by_folder() {
  Grouping out;
  out.kind_ = Kind::folder;
  return out;
}

Grouping Grouping::by_rules(std::vector<Rule> rules) {
  Grouping out;
  out.kind_ = Kind::rules;
  out.rules_ = std::move(rules);
  return out;
}

Grouping Grouping::parse(FileSystem& fs, const std::string& text) {
  return text == "none"     ? Grouping()
         : text == "folder" ? by_folder()
                            : by_rules(read_rules(fs, text));
}

std::string Grouping::group_of(std::string_view path) const {
  if (kind_ == Kind::folder) {
    const size_t slash = path.find('/');
    return slash == std::string_view::npos ? "" : std::string(path.substr(0, slash));
  }
  const std::string whole(path);
  for (const Rule& rule : rules_) {
    if (rule.pattern == whole || ::fnmatch(rule.pattern.c_str(), whole.c_str(), 0) == 0) {
      return rule.group;
    }
  }
  return "";
}

json Grouping::to_json() const {
  if (kind_ == Kind::none) {
    return nullptr;
  }
  json out{{"by", kind_ == Kind::folder ? "folder" : "rules"}};
  for (const Rule& rule : rules_) {
    out["rules"].push_back({rule.pattern, rule.group});
  }
  return out;
}

Grouping Grouping::from_json(const json& j) {
  const std::string by = j.is_object() ? j.value("by", "") : "";
  if (by == "folder") {
    return by_folder();
  }
  std::vector<Rule> rules;
  for (const json& rule : j.is_object() ? j.value("rules", json::array()) : json::array()) {
    rules.push_back({rule.at(0).get<std::string>(), rule.at(1).get<std::string>()});
  }
  return by == "rules" ? by_rules(std::move(rules)) : Grouping();
}

Grouping grouping_of(store::Corpus& corpus, int64_t generation) {
  for (const store::Generation& g : corpus.generations().list()) {
    if (g.number == generation) {
      return Grouping::from_json(g.settings.value("groups", json()));
    }
  }
  return {};
}

std::map<std::string, std::string> groups_of_documents(store::Corpus& corpus, int64_t generation,
                                                       const Grouping& grouping) {
  std::map<std::string, std::string> out;
  for (const store::StoredDocument& d : corpus.documents().list(generation)) {
    out[d.document.id] = grouping.group_of(d.document.path);
  }
  return out;
}

std::vector<GroupedExamples> split_by_group(const ExampleSplit& split,
                                            const std::map<std::string, std::string>& groups,
                                            size_t fewest) {
  const auto group_of = [&](const Example& e) {
    const auto at = groups.find(e.document_id);
    return at == groups.end() ? std::string() : at->second;
  };
  std::map<std::string, ExampleSplit> by_name;
  for (const Example& e : split.training) {
    by_name[group_of(e)].training.push_back(e);
  }
  for (const Example& e : split.held_out) {
    by_name[group_of(e)].held_out.push_back(e);
  }
  by_name.erase("");
  std::erase_if(by_name, [&](const auto& g) { return g.second.training.size() < fewest; });
  const bool has_rest = std::any_of(groups.begin(), groups.end(), [&](const auto& document) {
    return !by_name.contains(document.second);
  });
  std::vector<GroupedExamples> out;
  if (has_rest || by_name.size() < 2) {
    out.push_back({.split = split});
  }
  if (has_rest || by_name.size() >= 2) {
    for (auto& [name, examples] : by_name) {
      out.push_back({.group = name, .split = std::move(examples)});
    }
  }
  double total = 0;
  for (const GroupedExamples& g : out) {
    total += static_cast<double>(g.split.training.size());
  }
  for (GroupedExamples& g : out) {
    g.share = total > 0 ? static_cast<double>(g.split.training.size()) / total : 1;
  }
  return out;
}

}  // namespace offbook::learn
