// Bar: 512 tokens are compressed at 4× and written out again, greedily, from the slots alone. A
// beacon is asked as in its training, by the recall token and the first 8 tokens; an icae by its
// [AE] row. BLEU-4 of the text and share of tokens in their order (longest common subsequence), on
// held-out text, on the same with every id one higher, and on random ids. Beacon: BLEU-4 ≥ 98.5 and
// 99% of the tokens on text; icae: BLEU-4 ≥ 60 and three times that of the slots of another text.
// --sabotage: another text's slots.
//
// usage: bar_restore [--weights FILE] [--device D] [--windows N] [--ratio R] [--quick] [--sabotage]
#include "bench/bars/bar.h"

#include <algorithm>
#include <cstdio>

#include "src/backend/compute_device.h"
#include "src/base/random.h"
#include "src/compress/icae/icae.h"
#include "src/compress/registry.h"
#include "src/compress/training_text.h"
#include "src/metrics/bleu.h"
#include "src/metrics/lcs.h"
#include "src/model/generate.h"
#include "src/model/language_model.h"

namespace offbook {
namespace {

constexpr int64_t kTokens = 512;
constexpr int32_t kRecallToken = 9;  // of the training mix
constexpr size_t kCue = 8;

struct Flags {
  bars::Options bar;
  std::string weights, device = "auto";
  size_t windows = 32;
  double ratio = 4;
};

Flags parse(int argc, char** argv) {
  Flags f{.bar = bars::parse(argc, argv)};
  const char* known = std::getenv("OFFBOOK_BEACON");
  f.weights = known != nullptr ? known : "models/smollm2-135m-instruct/beacon.safetensors";
  f.windows = f.bar.quick ? 2 : f.windows;
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string name = argv[i];
    f.weights = name == "--weights" ? argv[i + 1] : f.weights;
    f.device = name == "--device" ? argv[i + 1] : f.device;
    f.windows = name == "--windows" ? std::stoul(argv[i + 1]) : f.windows;
    f.ratio = name == "--ratio" ? std::stod(argv[i + 1]) : f.ratio;
  }
  return f;
}

struct Score {
  metrics::BleuCounts bleu;
  size_t in_order = 0, tokens = 0;
};

class Restorer {
 public:
  Restorer(const backend::ExecutionContext& ctx, const model::LanguageModel& model,
           const compress::Compressor& compressor, double ratio)
      : ctx_(ctx),
        model_(model),
        compressor_(compressor),
        ratio_(ratio),
        decoder_(model.make_decoder(ctx, 2048)) {
    if (compressor.describe().id == "icae") {
      tasks_ = compress::take_icae(compressor.weights(), model.config()).tasks;
    }
  }

  // The text, from its slots or those of `other`.
  void add(std::span<const int32_t> text, std::span<const int32_t> slots_of, Score& to) {
    backend::ArenaScope scope(*ctx_.arena);
    Segment segment{.document_id = "d", .tokens = {slots_of.begin(), slots_of.end()}};
    segment.token_spans.resize(segment.tokens.size());
    const compress::Request request{.segment = &segment, .text = "", .budget = {.ratio = ratio_}};
    const CompressedContext context = compressor_.compress(ctx_, std::span(&request, 1)).front();
    const compress::Attachment attachment{.context = &context};
    model::Sequence sequence = decoder_.make_sequence();
    const model::LoraAdapter* adapter = compressor_.reader_adapter();
    for (const compress::ContextPart& part : compressor_.attach(std::span(&attachment, 1), {})) {
      if (part.kv.defined()) {
        decoder_.attach(sequence, part.kv);
      } else {
        decoder_.append({.sequence = &sequence,
                         .tokens = part.tokens,
                         .soft_tokens = part.soft_tokens,
                         .adapter = adapter,
                         .wants_logits = false});
      }
    }
    Tensor logits;
    size_t given = 0;
    if (tasks_.defined()) {
      logits = decoder_.append({.sequence = &sequence, .soft_tokens = tasks_.slice(0, 0, 1)});
    } else {
      std::vector<int32_t> cue{kRecallToken};
      cue.insert(cue.end(), text.begin(), text.begin() + kCue);
      given = kCue;
      logits = decoder_.append({.sequence = &sequence, .tokens = cue, .adapter = adapter});
    }
    const auto wanted = text.subspan(given);
    const model::Generated got =
        model::generate(decoder_, model_.tokenizer(), sequence, logits,
                        {.max_tokens = static_cast<int32_t>(wanted.size()), .adapter = adapter});
    const std::string reference = text::decode(model_.tokenizer(), wanted);
    to.bleu += metrics::bleu_counts(got.text, std::span(&reference, 1));
    const auto ids = [](std::span<const int32_t> tokens) {
      return std::vector<uint32_t>(tokens.begin(), tokens.end());
    };
    to.in_order += metrics::lcs_length(ids(wanted), ids(got.tokens));
    to.tokens += wanted.size();
  }

 private:
  const backend::ExecutionContext& ctx_;
  const model::LanguageModel& model_;
  const compress::Compressor& compressor_;
  double ratio_;
  model::Decoder decoder_;
  Tensor tasks_;
};

int run(const Flags& flags) {
  const auto text_file = bars::data_directory() / "data/pretrain_heldout.jsonl.zst";
  for (const std::filesystem::path& needed : {std::filesystem::path(flags.weights), text_file}) {
    if (!std::filesystem::exists(needed)) {
      std::printf("missing: %s\n", needed.c_str());
      return bars::kMissing;
    }
  }
  FileSystem& fs = real_file_system();
  backend::ComputeDevice device({.name = flags.device});
  const backend::ExecutionContext ctx = device.context(backend::Compute::bf16);
  const model::LanguageModel model(fs, bars::model_directory() / "smollm2-135m-instruct", ctx, {});
  const compress::BaseModel base{model.llama(), model.tokenizer(), model.fingerprint(),
                                 model.chat_format()};
  const auto compressor = compress::load_compressor(ctx, base, fs, flags.weights);
  compress::TrainingText text;
  compress::read_training_text(fs, text_file, model.tokenizer(), {}, text);
  const auto windows = text.held_out(flags.windows, kTokens);
  Restorer restorer(ctx, model, *compressor, flags.ratio);
  Random random(1);
  const auto vocabulary = static_cast<uint64_t>(model.config().vocab_size);
  bool holds = true;
  double own = 0;
  for (const std::string kind : {"text", "ids one higher", "random ids", "another text's slots"}) {
    Score score;
    for (size_t i = 0; i < windows.size(); ++i) {
      std::vector<int32_t> tokens = windows[i].tokens;
      for (int32_t& id : tokens) {
        if (kind == "ids one higher") {
          id = (id + 1) % static_cast<int32_t>(vocabulary);
        } else if (kind == "random ids") {
          id = 17 + static_cast<int32_t>(random.below(vocabulary - 17));
        }
      }
      const bool is_wrong = kind == "another text's slots" || flags.bar.sabotage;
      restorer.add(tokens, is_wrong ? windows[(i + 1) % windows.size()].tokens : tokens, score);
    }
    const double bleu = metrics::bleu(score.bleu, metrics::BleuOrder::full);
    const double in_order = static_cast<double>(score.in_order) /
                            static_cast<double>(std::max<size_t>(1, score.tokens));
    std::printf("%-22s BLEU-4 %5.1f, tokens in order %.4f, %zu windows\n", kind.c_str(), bleu,
                in_order, windows.size());
    std::fflush(stdout);
    if (kind == "text") {
      own = bleu;
      holds = compressor->describe().id == "icae" ? bleu >= 60 : bleu >= 98.5 && in_order >= 0.99;
    } else if (kind == "another text's slots" && compressor->describe().id == "icae") {
      holds = holds && own >= 3 * bleu;
    }
  }
  return holds ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  try {
    return offbook::run(offbook::parse(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
