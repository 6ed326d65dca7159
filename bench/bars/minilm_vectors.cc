// Bar: sentence vectors of all-MiniLM-L6-v2 against an independent implementation (NumPy and the
// tokenizers library, minilm_reference.py) on 1,000 texts: passages of books, code and tables, and
// questions, in equal parts of every data file, and odd ones. Cosine ≥ 0.9999 in f32 and in bf16,
// the product's setting. Sabotaged, the texts lose their last word.
#include "bench/bars/bar.h"
#include "bench/bars/records.h"

#include <cmath>
#include <cstdio>
#include <fstream>

#include <sys/wait.h>
#include <unistd.h>

#include "src/base/random.h"
#include "src/model/sentence_encoder.h"

namespace offbook {
namespace {

using nlohmann::json;

constexpr double kLeastCosine = 0.9999;

const std::vector<std::string> kOdd = {"a",
                                       "?",
                                       "…",
                                       "Naïve café, Ελληνικά, 你好 世界",
                                       "🙂🙃 👩‍👩‍👧",
                                       "x = [i ** 2 for i in range(10)]  # squares",
                                       "3.14159 | 2,718 | −1 % | €5",
                                       "ﬁne ﬁsh",
                                       "İstanbul STRASSE straße",
                                       "the the the the the the the the the the the the the the"};

// A stretch of whole characters of `text`, at most `bytes` long.
std::string stretch(const std::string& text, uint64_t at, size_t bytes) {
  size_t begin = std::min<size_t>(at, text.size());
  const auto inside = [&](size_t i) {
    return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
  };
  while (inside(begin)) {
    ++begin;
  }
  size_t end = std::min(begin + bytes, text.size());
  while (inside(end)) {
    --end;
  }
  return text.substr(begin, end - begin);
}

// Texts that the encoder reads whole: lengths from one word to its window.
std::vector<std::string> texts(const model::SentenceEncoder& encoder, size_t count) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(bars::data_directory() / "data")) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".jsonl.zst") && !name.starts_with("pretrain") &&
        !name.starts_with("book")) {
      files.push_back(entry.path());
    }
  }
  files.push_back(bars::data_directory() / "data/pretrain_heldout.jsonl.zst");
  std::sort(files.begin(), files.end());
  std::vector<std::string> out = kOdd;
  Random random(5);
  for (size_t f = 0; f < files.size(); ++f) {
    const auto records = bars::lines_of(bars::decompressed(files[f]));
    const size_t wanted = kOdd.size() + (count - kOdd.size()) * (f + 1) / files.size();
    while (out.size() < wanted) {
      const json& record = records[random.below(records.size())];
      const json questions = record.value("questions", json::array());
      std::string text = record["text"];
      if (!questions.empty() && random.below(4) == 0) {
        text = questions[random.below(questions.size())]["question"];
      } else {
        text = stretch(text, random.below(text.size()), 8 + random.below(900));
      }
      const auto pieces = encoder.tokenizer().encode(text, {.add_special = false}).ids.size();
      if (pieces > 0 && pieces + 2 <= static_cast<size_t>(encoder.window())) {
        out.push_back(std::move(text));
      }
    }
  }
  return out;
}

bool read_reference(const std::vector<std::string>& all, std::vector<float>& vectors) {
  const auto scratch =
      std::filesystem::temp_directory_path() / fmt::format("offbook_vectors_{}", ::getpid());
  std::filesystem::create_directories(scratch);
  {
    std::ofstream file(scratch / "texts");
    for (const std::string& text : all) {
      file << json(text).dump() << '\n';
    }
  }
  const std::string command =
      fmt::format("'{}' '{}/minilm_reference.py' '{}' vectors '{}' '{}'",
                  bars::directory_from("OFFBOOK_PYTHON", "python3").string(), OB_BARS_DIRECTORY,
                  (bars::model_directory() / "all-minilm-l6-v2").string(),
                  (scratch / "texts").string(), (scratch / "out").string());
  const bool is_there = std::system(command.c_str()) == 0;
  if (is_there) {
    const auto file = real_file_system().open(scratch / "out");
    vectors.resize(file->bytes().size() / sizeof(float));
    std::memcpy(vectors.data(), file->bytes().data(), vectors.size() * sizeof(float));
  }
  std::filesystem::remove_all(scratch);
  return is_there;
}

double cosine(const float* a, const float* b, int64_t n) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < n; ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

std::string without_last_word(const std::string& text) {
  const size_t space = text.find_last_of(' ');
  return space == std::string::npos || space == 0 ? text : text.substr(0, space);
}

int run(const bars::Options& options) {
  const auto directory = bars::model_directory() / "all-minilm-l6-v2";
  for (const auto& path : {directory, bars::data_directory() / "data/pretrain_heldout.jsonl.zst"}) {
    if (!std::filesystem::exists(path)) {
      std::printf("missing: %s\n", path.c_str());
      return bars::kMissing;
    }
  }
  backend::ThreadPool pool(backend::default_thread_count());
  double least = 1;
  std::vector<std::string> all;
  std::vector<float> reference;
  for (const backend::Compute compute : {backend::Compute::f32, backend::Compute::bf16}) {
    model::SentenceEncoder encoder(real_file_system(), directory, pool, backend::best_cpu_backend(),
                                   compute);
    if (all.empty()) {
      all = texts(encoder, options.quick ? 150 : 1000);
      if (!read_reference(all, reference)) {
        std::printf("missing: OFFBOOK_PYTHON must name a Python with numpy and tokenizers\n");
        return bars::kMissing;
      }
    }
    double worst = 1, sum = 0;
    size_t at = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      const std::string text = options.sabotage ? without_last_word(all[i]) : all[i];
      const std::string_view view = text;
      const Tensor ours = encoder.encode(std::span(&view, 1));
      const double c =
          cosine(ours.data<float>(), reference.data() + i * static_cast<size_t>(encoder.dim()),
                 encoder.dim());
      at = c < worst ? i : at;
      worst = std::min(worst, c);
      sum += c;
    }
    std::printf("%s: %zu texts, mean cosine %.7f, least %.7f (text %zu)\n",
                compute == backend::Compute::f32 ? "f32 " : "bf16", all.size(),
                sum / static_cast<double>(all.size()), worst, at);
    least = std::min(least, worst);
  }
  std::printf("minilm_vectors: least cosine %.7f (bar %.4f)\n", least, kLeastCosine);
  return least >= kLeastCosine ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
