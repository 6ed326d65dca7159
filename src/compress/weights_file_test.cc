#include "src/compress/weights_file.h"

#include <fstream>

#include "src/compress/beacon/weights.h"
#include "src/compress/test_model.h"
#include "src/model/import/safetensors.h"

namespace offbook::compress {
namespace {

class WeightsFileTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::path(testing::TempDir()) / "weights_file_test.safetensors";
  }
  void TearDown() override { std::filesystem::remove(path_); }
  CompressorWeights weights() {
    CompressorWeights out{
        .base = tiny_.base.fingerprint, .recipe = "steps=3", .tokens_seen = 12345};
    out.held_out["share"] = {{"8", 0.25}};
    put_beacon(new_beacon(tiny_.ctx, tiny_.base, {}), out);
    return out;
  }
  ErrorCode code_of_load(const Fingerprint& base) {
    try {
      load_weights(real_file_system(), path_, base);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode{};
  }
  // The same file with one metadata field replaced.
  void save_with(const std::string& key, const std::string& value) {
    save_weights(real_file_system(), path_, weights());
    const auto file = model::SafetensorsFile::open(real_file_system(), path_);
    auto metadata = file->metadata();
    metadata[key] = value;
    write_file_atomically(real_file_system(), path_,
                          model::write_safetensors(weights().tensors, metadata));
  }

  testing_models::TinyModel tiny_;
  std::filesystem::path path_;
};

TEST_F(WeightsFileTest, ComesBackAsItWas) {
  const CompressorWeights out = weights();
  save_weights(real_file_system(), path_, out);
  const CompressorWeights back = load_weights(real_file_system(), path_, tiny_.base.fingerprint);
  EXPECT_EQ(back.method, "beacon");
  EXPECT_EQ(back.recipe, out.recipe);
  EXPECT_EQ(back.tokens_seen, 12345);
  EXPECT_EQ(back.held_out, out.held_out);
  EXPECT_EQ(back.settings, out.settings);
  EXPECT_EQ(hash_of(back), hash_of(out));
  const BeaconWeights beacon = take_beacon(back, tiny_.llama.config());
  EXPECT_EQ(beacon.ratios, (std::vector<int32_t>{8, 16, 32}));
  EXPECT_EQ(beacon.lora.rank, 8);
}

TEST_F(WeightsFileTest, TheHashFollowsWhatIsRead) {
  CompressorWeights a = weights();
  const std::string before = hash_of(a);
  a.tokens_seen = 7;
  a.held_out["share"] = 1;
  EXPECT_EQ(hash_of(a), before);
  a.tensors.at("slot.pool").data<float>()[0] += 1;
  EXPECT_NE(hash_of(a), before);
}

TEST_F(WeightsFileTest, AnotherModelIsRefusedByName) {
  save_weights(real_file_system(), path_, weights());
  const Fingerprint other{.model = std::string(32, 'e')};
  try {
    load_weights(real_file_system(), path_, other);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::InvalidArgument);
    EXPECT_NE(std::string_view(e.what()).find(other.model), std::string_view::npos);
    EXPECT_NE(std::string_view(e.what()).find(tiny_.base.fingerprint.model),
              std::string_view::npos);
  }
}

TEST_F(WeightsFileTest, LyingFilesAreRefused) {
  const Fingerprint& base = tiny_.base.fingerprint;
  save_with("format", "offbook.compressor.2");
  EXPECT_EQ(code_of_load(base), ErrorCode::Unsupported);
  save_with("format", "pt");
  EXPECT_EQ(code_of_load(base), ErrorCode::Unsupported);
  save_with("tokens_seen", "-3");
  EXPECT_EQ(code_of_load(base), ErrorCode::Corrupt);
  save_with("settings", "[1");
  EXPECT_EQ(code_of_load(base), ErrorCode::Corrupt);
  std::filesystem::remove(path_);
  EXPECT_EQ(code_of_load(base), ErrorCode::NotFound);
}

TEST_F(WeightsFileTest, TensorsThatDoNotFitAreCorrupt) {
  const model::ModelConfig config = tiny_.llama.config();
  const auto code = [&](const std::function<void(CompressorWeights&)>& damage) {
    CompressorWeights w = weights();
    damage(w);
    try {
      take_beacon(w, config);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode{};
  };
  EXPECT_EQ(code([](CompressorWeights&) {}), ErrorCode{});
  EXPECT_EQ(code([](CompressorWeights& w) { w.tensors.erase("slot.pool"); }), ErrorCode::Corrupt);
  EXPECT_EQ(code([](CompressorWeights& w) { w.tensors.erase("lora.layers.1.q_proj.b"); }),
            ErrorCode::Corrupt);
  EXPECT_EQ(code([](CompressorWeights& w) { w.settings["rank"] = 9; }), ErrorCode::Corrupt);
  EXPECT_EQ(code([](CompressorWeights& w) { w.settings["ratios"] = {8, 8}; }), ErrorCode::Corrupt);
  EXPECT_EQ(code([](CompressorWeights& w) { w.settings["ratios"] = "8"; }), ErrorCode::Corrupt);
  EXPECT_EQ(code([](CompressorWeights& w) {
              w.tensors.at("slot.pool").data<float>()[0] = std::nanf("");
            }),
            ErrorCode::Corrupt);
}

}  // namespace
}  // namespace offbook::compress
