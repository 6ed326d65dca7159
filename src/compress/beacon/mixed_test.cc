// Batches of the task mix, readings behind picked rows, training on both.
#include <set>

#include "src/base/file_system_memory.h"
#include "src/compress/beacon/mixed_training.h"
#include "src/compress/beacon/training.h"
#include "src/compress/beacon/weights.h"
#include "src/compress/registry.h"
#include "src/compress/test_model.h"
#include "src/compress/train_mixed_job.h"
#include "src/train/lora_task.h"

namespace offbook::compress {
namespace {

using testing_models::TinyModel;

TaskMix small_mix() {
  TaskMix mix;
  mix.windows = 6;
  mix.shortest_segment = 24;
  mix.longest_segment = 48;
  mix.continuation = 16;
  mix.given_context = 96;
  mix.ratios = {4, 8};
  mix.ratio_shares = {0.5, 0.4};
  mix.recall_length = 16;
  mix.recall_cue = 4;
  mix.recall_token = 3;
  mix.shortest_run = 8;
  mix.longest_run = 16;
  mix.longest_raw = 12;
  return mix;
}

// Documents of numbered tokens, so that a row tells where it comes from.
TrainingSet numbered(int documents, const Fingerprint& base) {
  TrainingSet set{.tokenizer = base.family, .recipe = "r", .lead = {1, 30, 31, 2, 40, 1, 41}};
  for (int d = 0; d < documents; ++d) {
    TrainingDocument document{.group = "g", .title = fmt::to_string(d), .licence = "MIT"};
    for (int i = 0; i < 200; ++i) {
      document.tokens.push_back(20 + (i * 7 + d * 13) % 240);
    }
    for (int i = 0; i < 12; ++i) {
      document.examples.push_back({.kind = static_cast<ExampleKind>(d % 2 == 0 ? 0 : 1 + i % 3),
                                   .evidence_begin = i * 15,
                                   .evidence_end = i * 15 + 10,
                                   .question = {50, 51, 52},
                                   .answer = {document.tokens[static_cast<size_t>(i) * 15], 2}});
    }
    set.documents.push_back(std::move(document));
  }
  return set;
}

class MixedTest : public testing::Test {
 protected:
  TinyModel tiny_;
  TrainingSet set_ = numbered(8, tiny_.base.fingerprint);
};

TEST_F(MixedTest, BatchesAreMadeOfEverythingAndRepeat) {
  const TaskSampler sampler(set_, small_mix());
  std::set<int> kinds;
  std::set<size_t> pieces;
  bool has_raw = false;
  bool has_order = false;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const ReadingBatch batch = sampler.draw(seed);
    for (const Reading& r : batch.readings) {
      kinds.insert(r.kind);
      ASSERT_GE(r.first_target, 1);
      ASSERT_LT(r.first_target, static_cast<int32_t>(r.tokens.size()));
      const Memory& memory = batch.memories.at(static_cast<size_t>(r.memory));
      pieces.insert(memory.pieces.size());
      has_raw = has_raw || batch.sources[static_cast<size_t>(memory.pieces[0].source)].ratio == 0;
      std::set<std::pair<int32_t, int32_t>> seen;
      for (const MemoryPiece& piece : memory.pieces) {
        for (const int32_t row : piece.rows) {
          EXPECT_LT(row, batch.rows_of(piece.source));
          EXPECT_TRUE(seen.insert({piece.source, row}).second) << "a row twice in one memory";
        }
      }
      for (size_t i = 2; i < memory.pieces.size(); ++i) {
        has_order =
            has_order || (!memory.pieces[i].rows.empty() && !memory.pieces[i - 1].rows.empty() &&
                          memory.pieces[i].source == memory.pieces[i - 1].source &&
                          memory.pieces[i].rows[0] < memory.pieces[i - 1].rows[0]);
      }
    }
    const ReadingBatch again = sampler.draw(seed);
    ASSERT_EQ(again.readings.size(), batch.readings.size());
    EXPECT_EQ(again.readings.back().tokens, batch.readings.back().tokens);
    EXPECT_EQ(again.written_tokens(), batch.written_tokens());
  }
  EXPECT_EQ(kinds.size(), static_cast<size_t>(kTaskKinds));
  EXPECT_GT(pieces.size(), 3u);
  EXPECT_TRUE(has_raw);
  EXPECT_TRUE(has_order) << "no shuffled runs";
}

TEST_F(MixedTest, PickedSlotsHoldTheEvidence) {
  TaskMix mix = small_mix();
  mix.picked_share = 1;
  mix.joined_share = 0;
  mix.raw_share = mix.turn_share = 0;
  mix.recall_spans = 4;
  mix.most_runs = 1;
  const TaskSampler sampler(set_, mix);
  int checked = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const ReadingBatch batch = sampler.draw(seed);
    for (const Reading& r : batch.readings) {
      if (r.kind != static_cast<int32_t>(TaskKind::recall)) {
        continue;
      }
      // Every token of the span lies under a picked slot.
      std::multiset<int32_t> covered;
      for (const MemoryPiece& piece : batch.memories[static_cast<size_t>(r.memory)].pieces) {
        const ReadingSource& s = batch.sources[static_cast<size_t>(piece.source)];
        for (const int32_t row : piece.rows) {
          for (int32_t t = (row - 1) * s.ratio;
               row > 0 && t < std::min(row * s.ratio, static_cast<int32_t>(s.tokens.size())); ++t) {
            covered.insert(s.tokens[static_cast<size_t>(t)]);
          }
        }
      }
      for (size_t i = 1; i < r.tokens.size(); ++i) {
        EXPECT_TRUE(covered.contains(r.tokens[i]));
      }
      ++checked;
    }
  }
  EXPECT_GT(checked, 100);
}

TEST_F(MixedTest, RestoredWindowsAreReadWhole) {
  TaskMix mix = small_mix();
  mix.restored_share = 1;
  mix.restored = 40;
  const ReadingBatch batch = TaskSampler(set_, mix).draw(1);
  ASSERT_EQ(batch.readings.size(), static_cast<size_t>(mix.windows));
  for (size_t i = 0; i < batch.readings.size(); ++i) {
    const ReadingSource& source = batch.sources[i];
    EXPECT_EQ(source.ratio, 4);
    const Reading& r = batch.readings[i];
    EXPECT_EQ(r.first_target, 1 + mix.recall_cue);
    std::vector<int32_t> wanted{mix.recall_token};
    wanted.insert(wanted.end(), source.tokens.begin(), source.tokens.end());
    EXPECT_EQ(r.tokens, wanted);
    EXPECT_EQ(r.tokens.size(), 41u);
  }
}

TEST_F(MixedTest, MixFilesAreChecked) {
  EXPECT_EQ(to_json(read_mix(to_json(small_mix()), "m")), to_json(small_mix()));
  for (const char* bad :
       {R"({"windws": 4})", R"({"windows": "many"})", R"({"windows": 0})",
        R"({"picked_share": 0.9, "joined_share": 0.2})", R"({"restored": 9})",
        R"({"ratios": [8, 4], "ratio_shares": [0.5, 0.5]})", R"({"weights": [1]})"}) {
    EXPECT_THROW(read_mix(nlohmann::json::parse(bad), "m"), Error) << bad;
  }
}

TEST_F(MixedTest, AWholeMemoryReadsAsATrainingWindowDoes) {
  BeaconWeights weights = new_beacon(tiny_.ctx, tiny_.base, {.ratios = {4, 8}});
  const std::vector<int32_t>& text = set_.documents[0].tokens;
  const BeaconWindow window{
      .tokens = {text.begin(), text.begin() + 64}, .layout = {24, 16}, .ratio = 4};
  const BeaconTrainingOptions options{
      .continuation = 24, .recall = {.spans = 0}, .checkpointing = model::Checkpointing::none};
  backend::ArenaScope scope(tiny_.arena);
  const double wanted =
      beacon_window_loss({tiny_.ctx}, tiny_.llama, weights, window, options).mean();
  ReadingBatch batch;
  batch.sources = {{.tokens = {text.begin(), text.begin() + 24}, .ratio = 4},
                   {.tokens = {text.begin() + 24, text.begin() + 40}, .ratio = 4},
                   {.tokens = {text.begin(), text.begin() + 40}, .ratio = 0}};
  batch.memories = {{{batch.all_of(0, true), batch.all_of(1, false)}}, {{batch.all_of(2, true)}}};
  for (const int32_t memory : {0, 1}) {
    batch.readings.push_back({.memory = memory, .tokens = {text.begin() + 40, text.begin() + 64}});
  }
  const auto losses = read_batch({tiny_.ctx}, {.base = tiny_.llama, .weights = weights}, batch);
  EXPECT_NEAR(losses[0].mean(), wanted, 1e-4);
  // Raw rows read as the text itself does.
  std::vector<int32_t> plain(text.begin(), text.begin() + 64);
  ReadingBatch direct;
  direct.sources = {{.tokens = {20}, .ratio = 0}};
  direct.memories = {{{{0, {0}}}}};
  direct.readings = {{.tokens = plain, .first_target = 41}};
  EXPECT_NEAR(losses[1].mean(),
              read_batch({tiny_.ctx}, {.base = tiny_.llama, .weights = weights}, direct)[0].mean(),
              1e-4);
}

// Who reads the raw text behind a memory of the same raw text says what the teacher says.
TEST_F(MixedTest, ATeacherHasNothingToTellWhoReadsTheSame) {
  BeaconWeights weights = new_beacon(tiny_.ctx, tiny_.base, {.ratios = {4, 8}, .reader_rank = 2});
  const std::vector<int32_t>& text = set_.documents[0].tokens;
  const auto largest = [&](std::vector<int32_t> teacher_text) {
    ReadingBatch batch;
    batch.sources = {{.tokens = {text.begin(), text.begin() + 40}, .ratio = 0},
                     {.tokens = {text.begin() + 80, text.begin() + 90}, .ratio = 4}};
    batch.memories = {{{batch.all_of(0, true)}}, {{batch.all_of(1, true)}}};
    batch.readings = {{.memory = 0,
                       .tokens = {text.begin() + 40, text.begin() + 64},
                       .weight = 3,
                       .teacher_text = std::move(teacher_text)}};
    backend::ArenaScope scope(tiny_.arena);
    autograd::Tape tape(tiny_.ctx);
    std::vector<train::Parameter> parameters = train::lora_parameters(tiny_.ctx, weights.reader);
    for (train::Parameter& p : parameters) {
      std::fill_n(p.grad.data<float>(), p.grad.numel(), 0.0f);
      tape.watch(p.value, p.grad);
    }
    read_batch({tiny_.ctx, &tape},
               {.base = tiny_.llama, .weights = weights, .reader = &weights.reader}, batch);
    tape.backward();
    float most = 0;
    for (const train::Parameter& p : parameters) {
      for (int64_t i = 0; i < p.grad.numel(); ++i) {
        most = std::max(most, std::abs(p.grad.data<float>()[i]));
      }
    }
    return most;
  };
  std::vector<int32_t> same{kSink};
  same.insert(same.end(), text.begin(), text.begin() + 40);
  const float without = largest({});
  EXPECT_GT(without, 0.1f);
  EXPECT_LT(largest(same), 1e-3f * without);
  EXPECT_GT(largest({kSink}), 0.01f * without);  // a teacher that reads something else
}

TEST_F(MixedTest, GradientsReachWriterAndReader) {
  BeaconWeights weights = new_beacon(tiny_.ctx, tiny_.base, {.ratios = {4, 8}, .reader_rank = 2});
  std::mt19937 rng(3);
  for (model::LoraAdapter* adapter : {&weights.lora, &weights.reader}) {
    for (auto& layer : adapter->layers) {
      for (model::LoraPair& pair : layer) {
        if (pair.b.defined()) {
          pair.b = testing_models::random_tensor(pair.b.shape(), 0.1f, rng);
        }
      }
    }
  }
  TaskMix mix = small_mix();
  mix.windows = 2;
  mix.first_weight = 1;
  const TaskSampler sampler(set_, mix);
  MixedBeaconTask task(tiny_.ctx, tiny_.llama, weights, &weights.reader, sampler, nullptr, {});
  constexpr uint64_t kSeed = 7;
  {
    backend::ArenaScope scope(tiny_.arena);
    autograd::Tape tape(tiny_.ctx);
    for (train::Parameter& p : task.parameters()) {
      tape.watch(p.value, p.grad);
    }
    task.micro_batch({tiny_.ctx, &tape}, kSeed);
    tape.backward();
  }
  const auto loss = [&] {
    backend::ArenaScope scope(tiny_.arena);
    return task.micro_batch({tiny_.ctx}, kSeed).sum;
  };
  for (train::Parameter& p : task.parameters()) {
    if (p.name != "layers.0.v_proj.b" && p.name != "reader.layers.1.q_proj.b" &&
        p.name != "reader.layers.0.k_proj.b" && p.name != "slot.vectors") {
      continue;
    }
    int64_t at = 0;
    for (int64_t i = 0; i < p.grad.numel(); ++i) {
      at = std::abs(p.grad.data<float>()[i]) > std::abs(p.grad.data<float>()[at]) ? i : at;
    }
    const float gradient = p.grad.data<float>()[at];
    ASSERT_NE(gradient, 0) << p.name;
    float* value = p.value.data<float>() + at;
    const float before = *value;
    constexpr float kStep = 2e-3f;
    *value = before + kStep;
    const double up = loss();
    *value = before - kStep;
    const double down = loss();
    *value = before;
    EXPECT_NEAR((up - down) / (2 * kStep), gradient, 0.03 * std::abs(gradient) + 0.02) << p.name;
  }
}

TEST_F(MixedTest, AJobTrainsStopsResumesAndMeasures) {
  MemoryFileSystem fs;
  fs.create_directories("/t");
  fs.create_directories("/h");
  save_shard(fs, "/t/a.shard", set_);
  TrainingSet held = numbered(5, tiny_.base.fingerprint);
  held.recipe = "h";
  save_shard(fs, "/h/a.shard", held);
  MixedJobOptions options{
      .shards = "/t",
      .held_out = "/h",
      .mix = to_json(small_mix()),
      .out = "/w",
      .steps = 6,
      .lr = 1e-2f,
      .rank = 2,
      .reader_rank = 2,
      .stored_bits = 8,
      .evaluate_every = 3,
      .figures = {.ratios = {4},
                  .context = 64,
                  .continuation = 16,
                  .recall_length = 16,
                  .recall_cue = 4,
                  .recall_token = 3,
                  .raw_between = 8},
      .held_out_windows = 4,
      .questions = {.ratios = {4}, .documents = 2, .questions = 2, .segment = 48}};
  const auto run = [&](const MixedJobOptions& o, int64_t stop) {
    return train_mixed_beacon(tiny_.ctx, fs, tiny_.base, o,
                              [&](const MixedStep& s) { return s.step.step < stop; });
  };
  const MixedJobResult whole = run(options, 100);
  ASSERT_EQ(whole.reading.size(), 1u);
  EXPECT_TRUE(std::isfinite(whole.reading[0].recall_behind_slots.document_share()));
  ASSERT_EQ(whole.questions.size(), 5u);
  EXPECT_EQ(whole.questions[3].memory, "retrieved text of as many tokens as 4x");
  EXPECT_GT(whole.questions[3].kept_tokens, 0);
  EXPECT_LE(whole.questions[3].kept_tokens, std::max(48.0, whole.questions[1].kept_tokens));
  EXPECT_EQ(whole.questions[0].questions, 4);
  const auto compressor = load_compressor(tiny_.ctx, tiny_.base, fs, "/w");
  EXPECT_NE(compressor->reader_adapter(), nullptr);
  MixedJobOptions cut = options;
  cut.out = "/cut";
  EXPECT_EQ(run(cut, 4).training.end, train::TrainEnd::cancelled);
  EXPECT_FALSE(fs.stat("/cut"));
  MixedJobOptions other = cut;
  other.mix["windows"] = 5;
  EXPECT_THROW(run(other, 100), Error);
  run(cut, 100);
  EXPECT_EQ(hash_of(load_weights(fs, "/cut", tiny_.base.fingerprint)),
            hash_of(load_weights(fs, "/w", tiny_.base.fingerprint)));
  // Measured again from the file.
  MixedJobOptions measured = options;
  measured.steps = 0;
  measured.from = "/w";
  measured.out = "/m";
  measured.stored_bits = 16;
  EXPECT_NEAR(run(measured, 100).reading[0].continuation.right.mean(),
              whole.reading[0].continuation.right.mean(), 1e-6);
  measured.stored_bits = 4;
  EXPECT_LT(run(measured, 100).bytes, whole.bytes);  // packed anew
  // More room: the first step starts where the narrower adapter stood.
  MixedJobOptions wide = options;
  wide.from = "/w";
  wide.out = "/wide";
  wide.rank = 3;
  wide.steps = 1;
  wide.lr = 1e-9f;
  const MixedJobResult widened = run(wide, 100);
  EXPECT_NEAR(widened.reading[0].continuation.right.mean(),
              whole.reading[0].continuation.right.mean(), 2e-3);  // packed in 8 bits twice
  EXPECT_GT(widened.bytes, whole.bytes);
}

}  // namespace
}  // namespace offbook::compress
