#include "apps/offbook/presets.h"

namespace offbook::app {
namespace {

// LLoCO (arXiv 2404.07979), as far as one program on any model can follow it: the decoder is the
// encoder (its weights under every adapter), documents are 1,536 tokens → 50 accumulated vectors,
// adapters of rank 8 on q, k, v, o are trained for 3 epochs at 2e-5, warm-up 4%, cosine to 0,
// without weight decay. Not followed: dropout 0.05, eight sequences a step (2,048 tokens of packed
// ones here, about as many), the whole document in front of every question (`ask` takes the vectors
// of what retrieval finds).
void lloco_paper(TrainingOptions& t, CompressionOptions* c) {
  t.train.lora = {.rank = 8, .alpha = 16};
  t.train.lr = 2e-5f;
  t.train.lr_floor = 0;
  t.train.epochs = 3;
  t.train.max_tokens = kNoTokenLimit;
  t.train.patience = 0;
  t.minutes = 0;
  t.groups = "folder";
  t.prompt = {.slots = "only",
              .has_examples = false,
              .instruction =
                  "Answer the question about the text above as concisely as you can, "
                  "with a single phrase if possible."};
  if (c != nullptr) {
    c->method = "autocompressor";
    c->ratio = "30.72";  // 1,536 / 50
  }
}

// Raw passages first, slots only where a document's own text shows that they keep it, and 500,000
// tokens of training on the questions given (with as many an adapter was measured to help,
// docs/results/learn.md), for each folder that has enough. As a whole it has no figure yet.
void answers_best(TrainingOptions& t, CompressionOptions* c) {
  t.train.max_tokens = 500'000;
  t.minutes = 0;
  t.groups = "folder";
  if (c != nullptr) {
    c->ratio = "auto";
    c->tolerance = 2;
  }
}

struct Preset {
  const char* name;
  void (*apply)(TrainingOptions&, CompressionOptions*);
};
constexpr Preset kPresets[] = {{"lloco-paper", lloco_paper}, {"best", answers_best}};

}  // namespace

void add_preset_option(CLI::App* command, TrainingOptions& training,
                       CompressionOptions* compression) {
  std::vector<std::string> names;
  for (const Preset& p : kPresets) {
    names.emplace_back(p.name);
  }
  command
      ->add_option_function<std::string>(
          "--preset",
          [&training, compression](const std::string& name) {
            for (const Preset& p : kPresets) {
              if (name == p.name) {
                p.apply(training, compression);
              }
            }
          },
          "settings that the other flags then change. lloco-paper: the paper's (arXiv 2404.07979) "
          "1,536 tokens to 50 accumulated vectors, the encoder's weights under an adapter of rank "
          "8 "
          "a group, 3 epochs at 2e-5, its short prompt, answers from the vectors alone; needs "
          "autocompressor weights for the model (`offbook train-compressor autocompressor`; none "
          "are shipped) and questions with answers. best: raw passages, slots where --ratio auto "
          "finds them good, 500,000 tokens of training, an adapter for each folder")
      ->check(CLI::IsMember(names))
      ->trigger_on_parse();
}

}  // namespace offbook::app
