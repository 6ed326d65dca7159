// The default models against Hugging Face transformers and sentence-transformers
// (tools/golden/model.py). Needs OFFBOOK_MODELS.
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "src/backend/testing_devices.h"
#include "src/model/decoder.h"
#include "src/model/golden.h"
#include "src/model/import/tokenizer_source.h"
#include "src/model/sentence_encoder.h"

namespace offbook::model {
namespace {

std::filesystem::path models() {
  const char* value = std::getenv("OFFBOOK_MODELS");
  OB_REQUIRE(value != nullptr, InvalidArgument, "OFFBOOK_MODELS names the model directory");
  return value;
}

struct Comparison {
  double nmse;
  double kl;        // mean over the kept rows, of the softmax over the kept part of the vocabulary
  double loss_gap;  // of the mean next-token loss, and its standard error over the tokens
  double loss_gap_error;
};

class SmolLm2 : public testing::Test {
 protected:
  enum class Rows { all, eight };  // in a pass

  Comparison compare(const std::string& name, backend::Compute compute, bool is_packed = false,
                     Rows rows_at_once = Rows::all) {
    const auto golden =
        SafetensorsFile::open(real_file_system(), "tests/golden/model/smollm2.safetensors");
    const ModelFiles files = open_model(real_file_system(), models() / "smollm2-135m-instruct");
    backend::ComputeDevice device({.name = name, .threads = 2});
    const backend::ExecutionContext ctx = device.context(compute);
    LlamaWeights weights = load_llama_weights(files);
    auto packed = is_packed ? pack_weights(device.pool(), weights) : nullptr;
    OB_CHECK(is_packed == (packed != nullptr));
    const Llama model(ctx, files.config, std::move(weights), Matrices::as_device, std::move(packed));
    const std::vector<int32_t> ids = ints_of(golden->tensor("ids"));
    const Tensor logits = rows_at_once == Rows::all
                              ? all_logits(ctx, model, ids)
                              : decoded_logits(device.pool(), model, ctx, ids);

    const Tensor want = golden->tensor("logits");
    const std::vector<int32_t> rows = ints_of(golden->tensor("rows"));
    const std::vector<int32_t> kept = ints_of(golden->tensor("vocab"));
    const Tensor got = Tensor::empty(Dtype::f32, want.shape());
    for (size_t r = 0; r < rows.size(); ++r) {
      for (size_t i = 0; i < kept.size(); ++i) {
        got.data<float>()[r * kept.size() + i] =
            logits.data<float>()[rows[r] * logits.dim(1) + kept[i]];
      }
    }
    const auto [gap, error] = loss_gap(logits, ids, golden->tensor("losses"));
    return {.nmse = nmse(got, want),
            .kl = divergence(want, got),
            .loss_gap = gap,
            .loss_gap_error = error};
  }

 private:
  // Through the cache, as decoding goes.
  static Tensor decoded_logits(backend::ThreadPool& pool, const Llama& model,
                               const backend::ExecutionContext& ctx,
                               const std::vector<int32_t>& ids) {
    const auto n = static_cast<int64_t>(ids.size());
    Decoder decoder(pool, model,
                    {.backend = ctx.backend, .compute = ctx.compute, .cache_tokens = n + 64});
    Sequence sequence = decoder.make_sequence();
    const Tensor out = Tensor::empty(Dtype::f32, {n, model.config().vocab_size});
    for (int64_t begin = 0; begin < n; begin += 8) {
      const int64_t end = std::min(begin + 8, n);
      const auto count = static_cast<size_t>(end - begin);
      const Tensor rows =
          decoder.append({.sequence = &sequence,
                          .tokens = std::span(ids).subspan(static_cast<size_t>(begin), count),
                          .logit_rows = static_cast<int32_t>(count)});
      std::memcpy(out.row_raw(begin), rows.raw(), static_cast<size_t>(rows.bytes()));
    }
    return out;
  }

  static double divergence(const Tensor& want, const Tensor& got) {
    double total = 0;
    for (int64_t r = 0; r < want.dim(0); ++r) {
      const float* p = want.data<float>() + r * want.dim(1);
      const float* q = got.data<float>() + r * want.dim(1);
      double zp = 0;
      double zq = 0;
      for (int64_t i = 0; i < want.dim(1); ++i) {
        zp += std::exp(p[i]);
        zq += std::exp(q[i]);
      }
      for (int64_t i = 0; i < want.dim(1); ++i) {
        total += std::exp(p[i]) / zp * ((p[i] - std::log(zp)) - (q[i] - std::log(zq)));
      }
    }
    return total / static_cast<double>(want.dim(0));
  }

  static std::pair<double, double> loss_gap(const Tensor& logits, const std::vector<int32_t>& ids,
                                            const Tensor& want) {
    double sum = 0;
    double squares = 0;
    const auto n = static_cast<double>(ids.size() - 1);
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const float* row = logits.data<float>() + static_cast<int64_t>(i) * logits.dim(1);
      const float top = *std::max_element(row, row + logits.dim(1));
      double z = 0;
      for (int64_t v = 0; v < logits.dim(1); ++v) {
        z += std::exp(row[v] - top);
      }
      const double gap = top + std::log(z) - row[ids[i + 1]] - want.data<float>()[i];
      sum += gap;
      squares += gap * gap;
    }
    const double mean = sum / n;
    return {mean, std::sqrt((squares / n - mean * mean) / n)};
  }
};

TEST_F(SmolLm2, F32LogitsEqualTransformers) {
  for (const std::string& name : backend::fast_devices()) {
    const Comparison c = compare(name, backend::Compute::f32);
    EXPECT_LE(c.nmse, 1e-6) << name;
    EXPECT_LE(std::abs(c.loss_gap), 1e-4) << name;
    RecordProperty("nmse_" + name, std::to_string(c.nmse * 1e6) + "e-6");
  }
}

TEST_F(SmolLm2, Bf16LogitsAreNear) {
  for (const std::string& name : backend::fast_devices()) {
    const Comparison c = compare(name, backend::Compute::bf16);
    RecordProperty("nmse_" + name, std::to_string(c.nmse));
    std::printf("%s: NMSE %.3g, divergence %.3g, loss %+.3g ± %.2g\n", name.c_str(), c.nmse, c.kl,
                c.loss_gap, c.loss_gap_error);
    EXPECT_LE(c.nmse, 1e-3) << name;
    EXPECT_LE(c.kl, 0.005) << name;
    // Rounding moves each of the 103 losses up or down; where to depends on the CPU (AMX, AVX-512
    // and AVX2 sum in other orders). A bias would show beyond three standard errors of the mean.
    EXPECT_LE(std::abs(c.loss_gap), 3 * c.loss_gap_error) << name;
  }
}

TEST_F(SmolLm2, PackedLogitsAreNear) {
  for (const char* name : {"cpu", "avx2"}) {
    const Comparison c = compare(name, backend::Compute::bf16, true);
    std::printf("%s, packed: NMSE %.3g, divergence %.3g, loss %+.3g\n", name, c.nmse, c.kl,
                c.loss_gap);
    EXPECT_LE(c.nmse, 1e-3) << name;
    EXPECT_LE(c.kl, 0.005) << name;
    EXPECT_LE(std::abs(c.loss_gap), 0.005) << name;
  }
}

TEST_F(SmolLm2, LogitsOfDecodingAreNear) {  // int8 activations
  for (const bool is_packed : {false, true}) {
    const Comparison c = compare("cpu", backend::Compute::bf16, is_packed, Rows::eight);
    std::printf("decoded%s: NMSE %.3g, divergence %.3g, loss %+.3g\n", is_packed ? ", packed" : "",
                c.nmse, c.kl, c.loss_gap);
    EXPECT_LE(c.nmse, 5e-3);
    EXPECT_LE(c.kl, 0.005);
  }
}

TEST_F(SmolLm2, ItsTokenizerGivesTheGoldenIds) {
  const auto golden =
      SafetensorsFile::open(real_file_system(), "tests/golden/model/smollm2.safetensors");
  const auto loaded = load_tokenizer(
      real_file_system(), open_model(real_file_system(), models() / "smollm2-135m-instruct"));
  const std::vector<int32_t> ids = ints_of(golden->tensor("ids"));
  const std::string text = text::decode(*loaded.tokenizer, ids);
  EXPECT_EQ(loaded.tokenizer->encode(text, {.add_special = false}).ids, ids);
}

std::vector<std::pair<std::string, backend::Compute>> every_way() {
  std::vector<std::pair<std::string, backend::Compute>> out;
  for (const std::string& name : backend::fast_devices()) {
    out.push_back({name, backend::Compute::f32});
    out.push_back({name, backend::Compute::bf16});
  }
  return out;
}

TEST(MiniLm, VectorsEqualSentenceTransformers) {
  const auto golden =
      SafetensorsFile::open(real_file_system(), "tests/golden/model/minilm.safetensors");
  const auto file = real_file_system().open("tests/golden/model/minilm.json");
  const auto texts = nlohmann::json::parse(
                         reinterpret_cast<const char*>(file->bytes().data()),
                         reinterpret_cast<const char*>(file->bytes().data()) + file->bytes().size())
                         .get<std::vector<std::string>>();
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const Tensor want = golden->tensor("vectors");
  for (const auto& [name, compute] : every_way()) {
    backend::ComputeDevice device({.name = name, .threads = 2});
    SentenceEncoder encoder(real_file_system(), models() / "all-minilm-l6-v2",
                            device.context(compute));
    const Tensor got = encoder.encode(views);
    double worst = 1;
    for (int64_t r = 0; r < want.dim(0); ++r) {
      double cosine = 0;
      for (int64_t i = 0; i < want.dim(1); ++i) {
        cosine += static_cast<double>(want.data<float>()[r * want.dim(1) + i]) *
                  got.data<float>()[r * want.dim(1) + i];
      }
      worst = std::min(worst, cosine);
    }
    EXPECT_GE(worst, compute == backend::Compute::f32 ? 0.999999 : 0.9999) << name;
  }
}

}  // namespace
}  // namespace offbook::model
