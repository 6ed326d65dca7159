#include "src/compress/data/recipe.h"

#include <cmath>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/compress/weights_file.h"

namespace offbook::compress {
namespace {

constexpr uint64_t kMaxRecipeBytes = 1 << 20;
constexpr double kMostRules = 1000;  // a thousand tokens

// Refuses what it does not know: a misspelt limit must not be ignored.
void check_names(const JsonFields& fields, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : fields.value().items()) {
    OB_REQUIRE(std::find(known.begin(), known.end(), name) != known.end(), InvalidArgument,
               "{}: unknown field {}; there are {}", fields.where(), printable(name),
               fmt::join(known, ", "));
  }
}

std::vector<std::string> texts(const JsonFields& fields, const std::string& name) {
  std::vector<std::string> out;
  const nlohmann::json* list = fields.find(name);
  if (list == nullptr) {
    return out;
  }
  OB_REQUIRE(list->is_array(), InvalidArgument, "{}: {} is a list of texts", fields.where(), name);
  for (const nlohmann::json& value : *list) {
    OB_REQUIRE(value.is_string(), InvalidArgument, "{}: {} is a list of texts, not {}",
               fields.where(), name, value.dump());
    out.push_back(value.get<std::string>());
  }
  return out;
}

RuleShare rules_of(const JsonFields& fields) {
  const auto rules = fields.find_object("rules");
  if (!rules) {
    return {};
  }
  check_names(*rules, {"asked", "cloze", "keywords"});
  return {.asked = rules->find_float("asked", 0, kMostRules).value_or(0),
          .cloze = rules->find_float("cloze", 0, kMostRules).value_or(0),
          .keywords = rules->find_float("keywords", 0, kMostRules).value_or(0)};
}

std::optional<metrics::SplitPart> part_of(const JsonFields& fields) {
  const auto name = fields.find_string("part");
  if (!name) {
    return std::nullopt;
  }
  for (const auto part :
       {metrics::SplitPart::train, metrics::SplitPart::tune, metrics::SplitPart::test}) {
    if (metrics::to_string(part) == *name) {
      return part;
    }
  }
  OB_THROW(InvalidArgument, "{}: part is train, tune or test, not {}", fields.where(),
           printable(*name));
}

RecipeSource source_of(const JsonFields& f) {
  check_names(f,
              {"file", "groups", "group", "licences", "licence", "part", "id_pattern", "max_tokens",
               "max_document_tokens", "rules", "questions", "references", "instruction",
               "overlap"});
  const std::string overlap = f.find_string("overlap").value_or("fail");
  OB_REQUIRE(overlap == "fail" || overlap == "leave_out", InvalidArgument,
             "{}: overlap is fail or leave_out, not {}", f.where(), printable(overlap));
  RecipeSource out{.file = f.get_string("file"),
                   .group = f.find_string("group").value_or(""),
                   .licences = texts(f, "licences"),
                   .licence = f.find_string("licence").value_or(""),
                   .part = part_of(f),
                   .id_pattern = f.find_string("id_pattern").value_or(""),
                   .max_tokens = f.find_int("max_tokens", 1, INT64_MAX / 2).value_or(INT64_MAX),
                   .max_document_tokens =
                       f.find_int("max_document_tokens", 1, INT64_MAX / 2).value_or(INT64_MAX),
                   .rules = rules_of(f),
                   .leaves_out_overlaps = overlap == "leave_out",
                   .has_questions = f.find_bool("questions").value_or(false),
                   .references = static_cast<size_t>(f.find_int("references", 1, 100).value_or(2)),
                   .instruction = f.find_string("instruction").value_or("")};
  if (const auto groups = f.find_object("groups")) {
    for (const auto& [name, value] : groups->value().items()) {
      out.groups[name] = groups->get_float(name, 0, 1e6);
    }
  }
  return out;
}

}  // namespace

DataRecipe read_recipe(FileSystem& fs, const std::filesystem::path& path) {
  const auto file = fs.open(path);
  const nlohmann::json json = parse_json(file->bytes(), path.string(), kMaxRecipeBytes);
  const JsonFields f(json, path.string());
  check_names(f, {"name", "about", "seed", "shard_tokens", "system", "instruction", "quote",
                  "sources", "apart", "max_overlap", "leave_out"});
  DataRecipe out{
      .name = f.get_string("name"),
      .seed = static_cast<uint64_t>(f.find_int("seed", 0, INT64_MAX).value_or(0)),
      .shard_tokens = f.find_int("shard_tokens", 1000, 1'000'000'000).value_or(16'000'000),
      .system = f.get_string("system"),
      .instruction = f.get_string("instruction"),
      .quote = f.get_string("quote"),
      .max_overlap = f.find_float("max_overlap", 0, 1).value_or(0.02),
      .leave_out = texts(f, "leave_out"),
      .hash = recipe_hash(json)};
  const nlohmann::json* sources = f.find("sources");
  OB_REQUIRE(sources != nullptr && sources->is_array() && !sources->empty(), InvalidArgument,
             "{}: sources is a list of at least one", path.string());
  for (size_t i = 0; i < sources->size(); ++i) {
    out.sources.push_back(
        source_of(JsonFields((*sources)[i], fmt::format("{}: source {}", path.string(), i + 1))));
  }
  if (const nlohmann::json* apart = f.find("apart")) {
    OB_REQUIRE(apart->is_array(), InvalidArgument, "{}: apart is a list", path.string());
    for (const nlohmann::json& entry : *apart) {
      const JsonFields a(entry, path.string() + ": apart");
      check_names(a, {"file", "split"});
      out.apart.push_back({a.get_string("file"), a.find_bool("split").value_or(false)});
    }
  }
  return out;
}

}  // namespace offbook::compress
