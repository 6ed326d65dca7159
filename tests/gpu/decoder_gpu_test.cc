// The decoder on a GPU against the packed pass on the CPU, in f32 and bf16.
#include "tests/gpu/gpu_testing.h"

#include "src/model/decoder.h"
#include "src/model/golden.h"
#include "src/model/lora_init.h"

namespace offbook::gpu_tests {
namespace {

using model::Decoder;
using model::Sequence;

class DecoderGpuTest : public GpuTest {
 protected:
  std::vector<int32_t> tokens(int n) const {
    std::vector<int32_t> out(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) {
      out[static_cast<size_t>(i)] =
          static_cast<int32_t>((i * 37 + i * i % 11 + 5) % files_.config.vocab_size);
    }
    return out;
  }
  int length() const {
    return static_cast<int>(std::min<int64_t>(150, files_.config.max_positions));
  }

  // On the CPU, and not in a decoder's arena, whose logits the next call overwrites.
  static Tensor kept(const backend::ExecutionContext& ctx, const Tensor& logits) {
    Tensor out = Tensor::empty(Dtype::f32, logits.shape());
    backend::download(ctx, logits, {out.raw(), static_cast<size_t>(out.bytes())});
    return out;
  }
  static Tensor row(const Tensor& logits, int64_t r) { return logits.slice(0, r, r + 1); }
};

TEST_F(DecoderGpuTest, AllAtOnceInPiecesAndOneByOneAgreeWithTheCpu) {
  const std::vector<int32_t> ids = tokens(length());
  const backend::ExecutionContext reference = cpu_.context(backend::Compute::f32);
  const Tensor want = model::all_logits(reference, model_on(reference), ids);
  for (const backend::Compute compute : {backend::Compute::f32, backend::Compute::bf16}) {
    const double limit = compute == backend::Compute::f32 ? 1e-6 : 1e-3;
    const backend::ExecutionContext ctx = gpu_->context(compute);
    const model::Llama model = model_on(ctx);
    for (const int32_t piece : {length(), 64, 1}) {
      Decoder::Options options = Decoder::options_for(ctx, 1024);
      options.prefill_rows = piece;
      Decoder decoder(ctx, model, options);
      Sequence sequence = decoder.make_sequence();
      const Tensor got =
          model::on_host(ctx, decoder.append({.sequence = &sequence, .tokens = ids}));
      EXPECT_LE(model::nmse(got, row(want, length() - 1)), limit)
          << "pieces of " << piece << " in " << (limit < 1e-5 ? "f32" : "bf16");
    }
  }
}

TEST_F(DecoderGpuTest, RowsOfABatchHaveTheirOwnContextsAndAdapters) {
  const backend::ExecutionContext ctx = gpu_->context(backend::Compute::f32);
  const model::Llama model = model_on(ctx);
  std::vector<model::LoraAdapter> adapters;
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    adapters.push_back(model::make_lora_adapter(files_.config, {.rank = 4, .seed = seed}));
    for (auto& layer : adapters.back().layers) {
      for (model::LoraPair& pair : layer) {
        for (int64_t i = 0; pair.b.defined() && i < pair.b.numel(); ++i) {
          pair.b.data<float>()[i] =
              0.05f * static_cast<float>((i * 13 + static_cast<int64_t>(seed)) % 7 - 3);
        }
      }
    }
  }
  const model::LoraAdapter* choice[] = {nullptr, &adapters[0], &adapters[1], &adapters[0]};
  const auto run = [&](const backend::ExecutionContext& where, const model::Llama& on,
                       bool together) {
    Decoder decoder(where, on, Decoder::options_for(where, 4096));
    std::vector<Sequence> sequences;
    std::vector<std::vector<int32_t>> texts;
    std::vector<model::Append> appends;
    for (int i = 0; i < 4; ++i) {
      sequences.push_back(decoder.make_sequence());
      texts.push_back(tokens(20 + 30 * i));
    }
    for (size_t i = 0; i < 4; ++i) {
      appends.push_back({.sequence = &sequences[i], .tokens = texts[i], .adapter = choice[i]});
    }
    std::vector<Tensor> out;
    if (together) {
      const Tensor all = kept(where, decoder.append(appends));
      for (int64_t i = 0; i < 4; ++i) {
        out.push_back(row(all, i));
      }
    } else {
      for (const model::Append& one : appends) {
        out.push_back(kept(where, decoder.append(one)));
      }
    }
    return out;
  };
  const backend::ExecutionContext reference = cpu_.context(backend::Compute::f32);
  const std::vector<Tensor> want = run(reference, model_on(reference), false);
  const std::vector<Tensor> alone = run(ctx, model, false);
  const std::vector<Tensor> together = run(ctx, model, true);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_LE(model::nmse(alone[i], want[i]), 1e-6) << i;
    EXPECT_LE(model::nmse(together[i], want[i]), 1e-6) << i;
  }
  EXPECT_GT(model::nmse(want[1], want[2]), 1e-3);  // the adapters differ
  // One that lies on the device already, as a compressor's reader does.
  const model::LoraAdapter there = model::on_device(ctx, adapters[0]);
  choice[1] = &there;
  EXPECT_LE(model::nmse(run(ctx, model, true)[1], want[1]), 1e-6);
}

TEST_F(DecoderGpuTest, AttachedSlotsAndForksAgreeWithTheCpu) {
  const auto run = [&](const backend::ExecutionContext& where) {
    const model::Llama model = model_on(where);
    const auto& c = files_.config;
    Tensor kv = Tensor::empty(Dtype::f32, {c.layers, 2, 30, c.kv_heads, c.head_dim});
    for (int64_t i = 0; i < kv.numel(); ++i) {
      kv.data<float>()[i] = 0.1f * static_cast<float>((i * 29) % 17 - 8);
    }
    Decoder decoder(where, model, Decoder::options_for(where, 1024));
    Sequence first = decoder.make_sequence();
    decoder.append({.sequence = &first, .tokens = tokens(40)});
    decoder.attach(first, kv);
    Sequence second = first.fork();
    decoder.append({.sequence = &first, .tokens = tokens(3)});
    return kept(where, decoder.append({.sequence = &second, .tokens = tokens(5)}));
  };
  const Tensor want = run(cpu_.context(backend::Compute::f32));
  EXPECT_LE(model::nmse(run(gpu_->context(backend::Compute::f32)), want), 1e-6);
  EXPECT_LE(model::nmse(run(gpu_->context(backend::Compute::bf16)), want), 1e-3);
}

TEST_F(DecoderGpuTest, AFullCardIsAnErrorAndTheProgramGoesOn) {
  backend::ComputeDevice small(
      {.name = "cuda", .threads = 2, .gpu_memory_bytes = size_t{256} << 20});
  const backend::ExecutionContext ctx = small.context(backend::Compute::bf16);
  const model::Llama model = model_on(ctx);
  try {
    const Decoder decoder(ctx, model, Decoder::options_for(ctx, int64_t{1} << 26));
    FAIL() << "a cache larger than the limit";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::OutOfMemory);
    EXPECT_NE(std::string(e.what()).find("--gpu-memory"), std::string::npos) << e.what();
  }
  Decoder decoder(ctx, model, Decoder::options_for(ctx, 1024));
  Sequence sequence = decoder.make_sequence();
  EXPECT_EQ(decoder.append({.sequence = &sequence, .tokens = tokens(20)}).dim(0), 1);
}

}  // namespace
}  // namespace offbook::gpu_tests
