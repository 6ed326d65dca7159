// Groups of documents: their names, and whose examples train which adapter. No model.
#include "src/learn/grouping.h"

#include "src/base/file_system_memory.h"
#include "src/store/store_testing.h"

namespace offbook::learn {
namespace {

using store::error_of;
using testing::ElementsAre;
using testing::HasSubstr;

Grouping parse(const std::string& name, const std::string& text) {
  MemoryFileSystem fs;
  write_file_atomically(fs, name, std::as_bytes(std::span(text)));
  return Grouping::parse(fs, name);
}

TEST(Grouping, FoldersAndRulesNameDocuments) {
  const Grouping folders = Grouping::by_folder();
  EXPECT_EQ(folders.group_of("minutes/2019/may.pdf"), "minutes");
  EXPECT_EQ(folders.group_of("readme.txt"), "");
  const Grouping rules =
      parse("/g.csv", "file,group\nminutes/*,minutes\nb.txt,letters\n*.pdf,prints\n");
  EXPECT_EQ(rules.group_of("minutes/2019/may.pdf"), "minutes") << "the first rule that matches";
  EXPECT_EQ(rules.group_of("b.txt"), "letters");
  EXPECT_EQ(rules.group_of("a.pdf"), "prints");
  EXPECT_EQ(rules.group_of("a.txt"), "");
  EXPECT_EQ(Grouping().group_of("minutes/a.txt"), "");
  MemoryFileSystem fs;
  EXPECT_TRUE(Grouping::parse(fs, "none").is_none());
  EXPECT_EQ(Grouping::parse(fs, "folder").group_of("a/b"), "a");
  for (const Grouping& g : {folders, rules, Grouping()}) {
    const Grouping back = Grouping::from_json(g.to_json());
    EXPECT_EQ(back.is_none(), g.is_none());
    EXPECT_EQ(back.group_of("minutes/b.txt"), g.group_of("minutes/b.txt"));
  }
}

TEST(Grouping, ErrorsNameFileAndLine) {
  const auto fails = [](const std::string& name, const std::string& text) {
    return error_of([&] { parse(name, text); });
  };
  EXPECT_EQ(fails("/g.json", "{}").first, ErrorCode::Unsupported);
  EXPECT_THAT(fails("/g.csv", "path,group\na,b\n").second, HasSubstr("wanted file and group"));
  EXPECT_THAT(fails("/g.csv", "file,group\na\n").second, HasSubstr("/g.csv, line 2"));
  EXPECT_EQ(fails("/g.csv", "file,group\n").first, ErrorCode::InvalidArgument);
}

std::vector<Example> examples(const std::string& document, int count) {
  std::vector<Example> out;
  for (int i = 0; i < count; ++i) {
    out.push_back({.id = fmt::format("{}{}", document, i), .document_id = document});
  }
  return out;
}

std::vector<std::string> names(const std::vector<GroupedExamples>& all) {
  std::vector<std::string> out;
  for (const GroupedExamples& g : all) {
    out.push_back(
        fmt::format("{}:{}+{}", g.group, g.split.training.size(), g.split.held_out.size()));
  }
  return out;
}

TEST(Grouping, LargeGroupsHaveAnAdapterAndTheRestACombinedOne) {
  ExampleSplit split{.training = examples("a", 10), .held_out = examples("a", 3)};
  for (const auto& [document, count] : {std::pair{"b", 30}, {"c", 2}, {"", 1}}) {
    const auto more = examples(document, count);
    split.training.insert(split.training.end(), more.begin(), more.end());
  }
  std::map<std::string, std::string> groups{{"a", "one"}, {"b", "two"}, {"c", "small"}};
  const auto all = split_by_group(split, groups, 8);
  EXPECT_THAT(names(all), ElementsAre(":43+3", "one:10+3", "two:30+0"));
  EXPECT_NEAR(all[0].share + all[1].share + all[2].share, 1, 1e-12);
  EXPECT_NEAR(all[2].share, 30.0 / 83, 1e-12);
  groups.erase("c");  // every document has an adapter of its group now
  EXPECT_THAT(names(split_by_group(split, groups, 8)), ElementsAre("one:10+3", "two:30+0"));
  EXPECT_THAT(names(split_by_group(split, groups, 20)), ElementsAre(":43+3", "two:30+0"));
  EXPECT_THAT(names(split_by_group(split, groups, 40)), ElementsAre(":43+3"));
  EXPECT_THAT(names(split_by_group(split, {{"a", "one"}, {"b", "one"}}, 8)), ElementsAre(":43+3"))
      << "one group alone is no group";
  EXPECT_THAT(names(split_by_group(split, {}, 8)), ElementsAre(":43+3"));
}

}  // namespace
}  // namespace offbook::learn
