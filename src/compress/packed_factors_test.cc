#include "src/compress/packed_factors.h"

#include "src/base/file_system_memory.h"
#include "src/compress/beacon/weights.h"
#include "src/compress/test_model.h"

namespace offbook::compress {
namespace {

double relative_error(const Tensor& a, const Tensor& b) {
  double error = 0;
  double size = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    error += std::pow(a.data<float>()[i] - b.data<float>()[i], 2);
    size += std::pow(a.data<float>()[i], 2);
  }
  return std::sqrt(error / size);
}

TEST(PackedFactors, CostWhatTheirBitsSay) {
  std::mt19937 rng(5);
  const Tensor values = testing_models::random_tensor({24, 33}, 0.1f, rng);  // 792: no whole blocks
  const double eight = relative_error(values, unpack_factors(pack_factors(values, 8), 8, {24, 33}));
  const double four = relative_error(values, unpack_factors(pack_factors(values, 4), 4, {24, 33}));
  EXPECT_LT(eight, 0.008);
  EXPECT_LT(four, 0.11);
  EXPECT_GT(four, eight);
  const Tensor zeros = Tensor::empty(Dtype::f32, {3, 5});
  std::fill_n(zeros.data<float>(), 15, 0.0f);
  const Tensor back = unpack_factors(pack_factors(zeros, 4), 4, {3, 5});
  EXPECT_TRUE(
      std::all_of(back.data<float>(), back.data<float>() + 15, [](float v) { return v == 0; }));
  EXPECT_THROW(unpack_factors(pack_factors(values, 4), 8, {24, 33}), Error);
  EXPECT_THROW(pack_factors(values, 5), Error);
}

TEST(PackedFactors, AFileOfThemIsReadBack) {
  testing_models::TinyModel tiny;
  BeaconWeights beacon = new_beacon(tiny.ctx, tiny.base, {.reader_rank = 4});
  CompressorWeights weights{.base = tiny.base.fingerprint};
  put_beacon(beacon, weights);
  for (const int bits : {16, 8, 4}) {
    const CompressorWeights packed = with_packed_factors(weights, bits);
    MemoryFileSystem fs;
    save_weights(fs, "/w", packed);
    const CompressorWeights loaded = load_weights(fs, "/w", tiny.base.fingerprint);
    EXPECT_EQ(hash_of(packed), hash_of(loaded));
    const BeaconWeights back = take_beacon(loaded, tiny.llama.config());
    EXPECT_LT(relative_error(beacon.lora.layers[1][0].a, back.lora.layers[1][0].a),
              bits == 4 ? 0.12 : 0.01);
    ASSERT_NE(back.reader_or_null(), nullptr);
    EXPECT_EQ(back.reader.rank, 4);
  }
}

}  // namespace
}  // namespace offbook::compress
