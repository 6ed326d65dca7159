#include "src/compress/train_job.h"

#include <fstream>

#include <unistd.h>

#include "src/compress/registry.h"
#include "src/compress/test_model.h"

namespace offbook::compress {
namespace {

using testing_models::TinyModel;

class TrainJobTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/offbook_job_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    for (const char* name : {"train.jsonl", "held.jsonl"}) {
      std::ofstream out(dir_ / name);
      for (int d = 0; d < 6; ++d) {
        std::string text;
        for (int i = 0; text.size() < 400; ++i) {
          text += fmt::format("Line {} of document {} in {}. ", i, d, name);
        }
        out << nlohmann::json{{"text", text}, {"group", "g"}}.dump() << "\n";
      }
    }
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  TrainJobOptions options(const std::string& out) const {
    return {.method = GetParam(),
            .text = {dir_ / "train.jsonl"},
            .held_out = {dir_ / "held.jsonl"},
            .out = dir_ / out,
            .steps = 6,
            .rank = 2,
            .context = 32,
            .continuation = 16,
            .ratios = {4, 8},
            .summary_tokens = 4,
            .summary_ratio = 8,
            .held_out_windows = 4};
  }
  TrainJobResult run(const TrainJobOptions& options, int64_t stop = 1000) {
    return train_compressor(tiny_.ctx, real_file_system(), tiny_.base, options,
                            [&](const train::StepReport& r) { return r.step < stop; });
  }
  static std::string content(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  TinyModel tiny_;
  std::filesystem::path dir_;
};

TEST_P(TrainJobTest, WritesWeightsThatCompress) {
  const TrainJobResult result = run(options("w"));
  EXPECT_EQ(result.training.steps, 6);
  EXPECT_FALSE(result.trained.empty());
  EXPECT_EQ(result.trained.size(), result.untrained.size());
  EXPECT_EQ(result.trained.front().windows, 4);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "w.state"));
  const auto compressor = load_compressor(tiny_.ctx, tiny_.base, real_file_system(), dir_ / "w");
  EXPECT_EQ(compressor->describe().id, GetParam());
  EXPECT_EQ(compressor->weights().recipe.size(), 32u);
  EXPECT_GT(compressor->weights().tokens_seen, 0);
  EXPECT_FALSE(compressor->weights().held_out.empty());
}

TEST_P(TrainJobTest, StoppedAndResumedWritesTheSameFile) {
  run(options("whole"));
  EXPECT_EQ(run(options("cut"), 3).training.end, train::TrainEnd::cancelled);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "cut"));
  TrainJobOptions other = options("cut");
  other.lr *= 2;
  EXPECT_THROW(run(other), Error);
  EXPECT_EQ(run(options("cut")).training.steps, 6);
  EXPECT_EQ(content(dir_ / "cut"), content(dir_ / "whole"));
}

TEST_P(TrainJobTest, WhatCannotWorkIsRefusedFirst) {
  const auto refused = [&](const std::function<void(TrainJobOptions&)>& change) {
    TrainJobOptions o = options("x");
    change(o);
    EXPECT_THROW(run(o), Error);
    EXPECT_FALSE(std::filesystem::exists(dir_ / "x.state"));
  };
  refused([](auto& o) { o.method = "truncate"; });
  refused([](auto& o) { o.text.clear(); });
  refused([](auto& o) { o.out.clear(); });
  refused([](auto& o) { o.context = 4000; });
  refused([&](auto& o) { o.held_out = {dir_ / "nothing.txt"}; });
  std::ofstream(dir_ / "one.txt") << std::string(500, 'x');
  refused([&](auto& o) { o.held_out = {dir_ / "one.txt"}; });
}

INSTANTIATE_TEST_SUITE_P(Methods, TrainJobTest, testing::Values("beacon", "autocompressor"));

}  // namespace
}  // namespace offbook::compress
