#include "src/store/context_artefact.h"

#include <cmath>
#include <random>

#include "src/base/error.h"
#include "src/store/kv_quantise.h"

namespace offbook::store {
namespace {

// Normal values; every 16th channel has a constant outlier of 20, as real models have.
Tensor make_kv(int64_t slots, int64_t head_dim = 64) {
  Tensor kv = Tensor::empty(Dtype::f32, {3, 2, slots, 2, head_dim});
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < kv.numel(); ++i) {
    kv.data<float>()[i] = normal(random) + (i % 16 == 0 ? 20.0f : 0.0f);
  }
  return kv;
}

CompressedContext make_context(ContextKind kind) {
  CompressedContext context{.method = "beacon",
                            .weights_hash = "w1",
                            .base = {.model = std::string(32, 'b'), .family = "f"},
                            .kind = kind,
                            .slot_spans = {{100, 120}, {120, 150}},
                            .tokens_before = 32,
                            .tokens_after = 2,
                            .ratio = 16};
  context.text = kind == ContextKind::text ? "kept words" : "";
  if (kind == ContextKind::soft_tokens) {
    context.soft_tokens = Tensor::zeros(Dtype::bf16, {2, 8});
  } else if (kind == ContextKind::kv_prefix) {
    context.kv = make_kv(2);
    context.sink_kv = make_kv(1);
  }
  return context;
}

// RMS of the difference over RMS of the values less their channel outliers.
double relative_error(const Tensor& a, const Tensor& b) {
  double difference = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    difference += std::pow(a.data<float>()[i] - b.data<float>()[i], 2);
  }
  return std::sqrt(difference / static_cast<double>(a.numel()));
}

TEST(KvQuantise, ErrorStaysSmallDespiteOutlierChannels) {
  const Tensor kv = make_kv(96);
  const double eight = relative_error(kv, dequantise_kv(quantise_kv(kv, 8), Dtype::f32));
  const double four = relative_error(kv, dequantise_kv(quantise_kv(kv, 4), Dtype::f32));
  RecordProperty("rms_error_8_bits", fmt::format("{:.4f}", eight));
  RecordProperty("rms_error_4_bits", fmt::format("{:.4f}", four));
  EXPECT_LT(eight, 0.006);
  EXPECT_GT(eight, 0.001);
  EXPECT_LT(four, 0.1);
  EXPECT_GT(four, 0.02);
}

TEST(KvQuantise, EveryValueLiesWithinHalfAStepOfEightBits) {
  const Tensor kv = make_kv(9, 32);
  const Tensor back = dequantise_kv(quantise_kv(kv, 8), Dtype::f32);
  for (int64_t i = 0; i < kv.numel(); ++i) {
    const float width = 8.0f + 20.0f / 128;  // of ±4 sigma; low is rounded to bf16
    EXPECT_NEAR(kv.data<float>()[i], back.data<float>()[i], 0.51f * width / 255);
  }
}

TEST(KvQuantise, FourBitsClipWhatStandsAlone) {
  // One channel: 200 values of a normal distribution and one far away.
  Tensor kv = Tensor::zeros(Dtype::f32, {1, 2, 201, 1, 2});
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < kv.numel(); ++i) {
    kv.data<float>()[i] = normal(random);
  }
  kv.data<float>()[0] = 8;
  const Tensor back = dequantise_kv(quantise_kv(kv, 4), Dtype::f32);
  EXPECT_LT(back.data<float>()[0], 7.9f);
  EXPECT_LT(relative_error(kv, back), 0.14);
}

TEST(KvQuantise, ConstantAndNegativeValuesComeBack) {
  Tensor kv = Tensor::empty(Dtype::f32, {1, 2, 3, 1, 4});
  std::fill_n(kv.data<float>(), kv.numel(), -2.5f);
  const Tensor back = dequantise_kv(quantise_kv(kv, 4), Dtype::f32);
  for (int64_t i = 0; i < kv.numel(); ++i) {
    EXPECT_EQ(back.data<float>()[i], -2.5f);
  }
}

TEST(KvQuantise, HalfTypesRoundTrip) {
  for (const Dtype dtype : {Dtype::bf16, Dtype::f16}) {
    const Tensor half = dequantise_kv(quantise_kv(make_kv(5), 8), dtype);
    const Tensor wide = dequantise_kv(quantise_kv(half, 8), Dtype::f32);
    EXPECT_LT(relative_error(make_kv(5), wide), 0.05);
  }
}

TEST(KvQuantise, RefusesWhatItCannotHold) {
  EXPECT_THROW(quantise_kv(make_kv(2), 5), Error);
  EXPECT_THROW(quantise_kv(Tensor::zeros(Dtype::f32, {1, 2, 3}), 8), Error);
  EXPECT_THROW(quantise_kv(make_kv(2, 3), 4), Error);
  Tensor nan = make_kv(2);
  nan.data<float>()[3] = NAN;
  EXPECT_THROW(quantise_kv(nan, 8), Error);
  QuantisedKv wrong = quantise_kv(make_kv(2), 8);
  wrong.ranges = Tensor::zeros(Dtype::bf16, {1, 2, 1, 1, 2});
  EXPECT_THROW(dequantise_kv(wrong, Dtype::f32), Error);
  EXPECT_EQ(dequantise_kv(quantise_kv(make_kv(0), 4), Dtype::f32).numel(), 0);
}

TEST(ContextArtefact, EveryKindComesBackAtAnotherOrigin) {
  for (const ContextKind kind :
       {ContextKind::text, ContextKind::soft_tokens, ContextKind::kv_prefix}) {
    const CompressedContext context = make_context(kind);
    const Artefact artefact = to_artefact(context, 100, KvPrecision::as_made);
    const CompressedContext back = to_context(artefact, 1000);
    EXPECT_EQ(back.method, "beacon");
    EXPECT_EQ(back.weights_hash, "w1");
    EXPECT_EQ(back.base, context.base);
    EXPECT_EQ(back.kind, kind);
    EXPECT_EQ(back.text, context.text);
    EXPECT_EQ(back.tokens_before, 32);
    EXPECT_EQ(back.ratio, 16);
    EXPECT_EQ(back.slot_spans, (std::vector<ByteSpan>{{1000, 1020}, {1020, 1050}}));
    EXPECT_EQ(back.kv.defined(), kind == ContextKind::kv_prefix);
    EXPECT_EQ(back.soft_tokens.defined(), kind == ContextKind::soft_tokens);
  }
}

TEST(ContextArtefact, FewerBitsTakeFewerBytes) {
  CompressedContext context = make_context(ContextKind::kv_prefix);
  context.kv = make_kv(96);
  context.slot_spans.assign(96, {100, 101});
  const auto bytes = [&](KvPrecision precision) {
    return encode_artefact(to_artefact(context, 100, precision)).size();
  };
  EXPECT_LT(bytes(KvPrecision::eight_bits) * 3, bytes(KvPrecision::as_made));
  EXPECT_LT(bytes(KvPrecision::four_bits) * 5, bytes(KvPrecision::as_made));
  const auto back = to_context(to_artefact(context, 100, KvPrecision::four_bits), 100);
  EXPECT_EQ(back.kv.dtype(), Dtype::f32);
  EXPECT_LT(relative_error(context.kv, back.kv), 0.1);
}

TEST(ContextArtefact, ContradictionsAreRefused) {
  CompressedContext context = make_context(ContextKind::kv_prefix);
  EXPECT_THROW(to_artefact(context, 101, KvPrecision::as_made), Error);  // span before segment
  context.slot_spans.pop_back();
  EXPECT_THROW(to_artefact(context, 100, KvPrecision::as_made), Error);
  Artefact damaged = to_artefact(make_context(ContextKind::text), 0, KvPrecision::as_made);
  damaged.fields["kind"] = 9;
  EXPECT_THROW(to_context(damaged, 0), Error);
  damaged.fields["kind"] = "x";
  EXPECT_THROW(to_context(damaged, 0), Error);
}

TEST(VectorArtefact, ComesBackAndIsChecked) {
  VectorBlock block{.encoder = std::string(32, 'e'),
                    .ids = Tensor::zeros(Dtype::i64, {2}),
                    .vectors = Tensor::zeros(Dtype::bf16, {2, 4})};
  block.ids.data<int64_t>()[1] = 5;
  EXPECT_EQ(to_vectors(to_artefact(block)).vectors.shape(), Shape({2, 4}));
  block.ids.data<int64_t>()[0] = 6;
  EXPECT_THROW(to_vectors(to_artefact(block)), Error);
  block.vectors = Tensor::zeros(Dtype::bf16, {3, 4});
  EXPECT_THROW(to_artefact(block), Error);
}

}  // namespace
}  // namespace offbook::store
