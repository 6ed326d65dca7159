#include "src/compress/training_text.h"

#include <fstream>

#include <zstd.h>

#include "src/compress/test_model.h"

namespace offbook::compress {
namespace {

class TrainingTextTest : public testing::Test {
 protected:
  std::filesystem::path file(const std::string& name, const std::string& content) {
    const auto path = std::filesystem::path(testing::TempDir()) / ("training_text_" + name);
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  static std::string zstd(const std::string& content) {
    std::string out(ZSTD_compressBound(content.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), content.data(), content.size(), 3));
    return out;
  }
  TrainingText read(const std::filesystem::path& path, const ReadTextOptions& options = {}) {
    TrainingText text;
    read_training_text(real_file_system(), path, tokenizer_, options, text);
    return text;
  }
  ErrorCode code_of(const std::filesystem::path& path) {
    try {
      read(path);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode{};
  }

  testing_models::ByteTokenizer tokenizer_;
};

std::string lines(int n) {
  std::string out;
  for (int i = 0; i < n; ++i) {
    out += fmt::format("{{\"group\": \"g{}\", \"text\": \"document {} of the file\"}}\n", i % 3, i);
  }
  return out;
}

TEST_F(TrainingTextTest, ReadsEveryForm) {
  const std::string content = lines(5000);  // several decoder blocks
  const TrainingText plain = read(file("a.jsonl", content));
  const TrainingText packed = read(file("a.jsonl.zst", zstd(content)));
  EXPECT_EQ(plain.documents(), 5000u);
  EXPECT_EQ(packed.documents(), 5000u);
  EXPECT_EQ(plain.tokens(), packed.tokens());
  EXPECT_EQ(plain.held_out(3, 5)[1].tokens, packed.held_out(3, 5)[1].tokens);
  EXPECT_EQ(plain.held_out(3, 5)[1].group, packed.held_out(3, 5)[1].group);
  EXPECT_EQ(read(file("b.txt", "one document")).tokens(), 12);
  EXPECT_EQ(read(file("c.jsonl", "{\"text\": \"no line end\"}")).tokens(), 11);
}

TEST_F(TrainingTextTest, TakesAShareAndStops) {
  const auto path = file("d.jsonl", lines(2000));
  const TrainingText half = read(path, {.share = 0.5, .seed = 1});
  EXPECT_NEAR(static_cast<double>(half.documents()), 1000, 80);
  EXPECT_EQ(half.documents(), read(path, {.share = 0.5, .seed = 1}).documents());
  const TrainingText few = read(path, {.max_tokens = 100});
  EXPECT_GE(few.tokens(), 100);
  EXPECT_LT(few.tokens(), 140);
}

TEST_F(TrainingTextTest, BadFilesAreNamed) {
  EXPECT_EQ(code_of(file("bad.jsonl", "{\"text\": \"x\"}\n{\"text\": 3}\n")), ErrorCode::Corrupt);
  EXPECT_EQ(code_of(file("bad2.jsonl", "no json\n")), ErrorCode::Corrupt);
  const std::string packed = zstd(lines(100));
  EXPECT_EQ(code_of(file("cut.jsonl.zst", packed.substr(0, packed.size() - 9))),
            ErrorCode::Corrupt);
  EXPECT_EQ(code_of(file("none.jsonl.zst", "not zstd")), ErrorCode::Corrupt);
  EXPECT_EQ(code_of(file("a.csv", "x")), ErrorCode::Unsupported);
  EXPECT_EQ(code_of("/nowhere/a.txt"), ErrorCode::NotFound);
  try {
    read(file("bad.jsonl", "{\"text\": \"x\"}\n{\"text\": 3}\n"));
  } catch (const Error& e) {
    EXPECT_NE(std::string_view(e.what()).find("line 2"), std::string_view::npos) << e.what();
  }
}

TEST(TrainingText, DrawsWholeWindowsFromTheSeed) {
  TrainingText text;
  text.add("a", std::vector<int32_t>(100, 1));
  text.add("b", {2, 2, 2});
  text.add("c", {});
  text.add("b", std::vector<int32_t>(50, 3));
  EXPECT_EQ(text.documents(), 3u);
  EXPECT_EQ(text.tokens(), 153);
  Random one(7);
  Random two(7);
  int long_document = 0;
  for (int i = 0; i < 300; ++i) {
    const auto window = text.draw(one, 40);
    EXPECT_EQ(window, text.draw(two, 40));
    ASSERT_EQ(window.size(), 40u);
    long_document += window.front() == 1 ? 1 : 0;
  }
  EXPECT_NEAR(long_document, 300 * 100 / 153, 35);
  EXPECT_THROW(text.draw(one, 154), Error);
  EXPECT_EQ(text.draw(one, 153).size(), 153u);
}

TEST(TrainingText, HeldOutWindowsComeFromAllDocuments) {
  TrainingText text;
  for (int d = 0; d < 4; ++d) {
    std::vector<int32_t> tokens(static_cast<size_t>(10 + 10 * d));
    std::iota(tokens.begin(), tokens.end(), 100 * d);
    text.add(d % 2 == 0 ? "even" : "odd", tokens);
  }
  const auto windows = text.held_out(6, 10);
  ASSERT_EQ(windows.size(), 6u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(windows[i].document, i);
    EXPECT_EQ(windows[i].tokens.front(), static_cast<int32_t>(100 * i));
  }
  EXPECT_EQ(windows[4].tokens.front() % 100, 10);  // second windows
  EXPECT_EQ(text.held_out(100, 10).size(), 10u);
  EXPECT_TRUE(text.held_out(5, 41).empty());

  const auto others = other_documents(windows);
  for (size_t i = 0; i < windows.size(); ++i) {
    EXPECT_NE(windows[others[i]].document, windows[i].document);
    EXPECT_EQ(windows[others[i]].group, windows[i].group);
  }
  EXPECT_THROW(other_documents({windows[0]}), Error);
}

}  // namespace
}  // namespace offbook::compress
