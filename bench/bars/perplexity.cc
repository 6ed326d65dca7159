// Bar: perplexity on wikitext2 within 0.5% of llama.cpp's on the same GGUF (Q4_1 as shipped),
// counted as llama-perplexity counts: chunks of 512 tokens, each scored on its second half. The
// peer is built by bench/peers/build_llama_cpp; OFFBOOK_LLAMA_CPP names its bin/. llama.cpp
// multiplies with 8-bit activations, we with bf16, so the two differ by rounding only. Sabotaged,
// every eighth token of our context is another one. usage: bar_perplexity [--quick] [--sabotage];
// full: all of wikitext2 (1,000 chunks, about an hour on two cores); OFFBOOK_CHUNKS=N takes N
// chunks spread over it.
#include "bench/bars/bar.h"
#include "bench/bars/records.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>

#include <fmt/format.h>
#include <unistd.h>

#include "src/model/language_model.h"

namespace offbook {
namespace {

constexpr size_t kChunk = 512;
constexpr double kTolerance = 0.005;

using Seconds = std::chrono::duration<double>;

// Pieces of text that tokenise to at least `chunks` chunks, taken evenly from all documents.
std::string wikitext(const text::Tokenizer& tokenizer, size_t chunks) {
  const auto records =
      bars::lines_of(bars::decompressed(bars::data_directory() / "data/wikitext2.jsonl.zst"));
  const size_t tokens_each = (chunks * kChunk + records.size() - 1) / records.size() + 64;
  std::string text;
  for (const nlohmann::json& record : records) {
    const auto whole = record["text"].get<std::string>();
    const auto encoding = tokenizer.encode(whole, {.add_special = false});
    const size_t last = std::min(tokens_each, encoding.ids.size());
    text += last == encoding.ids.size() ? whole : whole.substr(0, encoding.spans[last].begin);
    text += "\n\n";
  }
  return text;
}

// −log p(token) of a row of logits.
double loss(std::span<const float> logits, int32_t token) {
  float largest = logits[0];
  for (const float x : logits) {
    largest = std::max(largest, x);
  }
  double sum = 0;
  for (const float x : logits) {
    sum += std::exp(static_cast<double>(x - largest));
  }
  return std::log(sum) + largest - logits[static_cast<size_t>(token)];
}

// Sum of losses of the second half of a chunk.
double chunk_loss(const model::LanguageModel& model, model::Decoder& decoder,
                  std::span<const int32_t> chunk, bool is_sabotaged) {
  std::vector<int32_t> read(chunk.begin(), chunk.end());
  for (size_t i = 0; is_sabotaged && i < read.size(); i += 8) {
    read[i] = read[i] / 2;
  }
  model::Sequence sequence = decoder.make_sequence();
  const Tensor hidden = decoder.hidden_states({.sequence = &sequence, .tokens = read});
  double sum = 0;
  for (size_t begin = kChunk / 2; begin + 1 < kChunk; begin += 64) {
    const size_t end = std::min(begin + 64, kChunk - 1);
    const auto mark = decoder.arena().mark();
    const Tensor logits = model.llama().logits(
        decoder.ctx(), hidden.slice(0, static_cast<int64_t>(begin), static_cast<int64_t>(end)));
    const auto vocab = static_cast<size_t>(logits.dim(1));
    for (size_t i = begin; i < end; ++i) {
      sum += loss({logits.data<float>() + (i - begin) * vocab, vocab}, chunk[i + 1]);
    }
    decoder.arena().rewind(mark);
  }
  return sum;
}

struct Peer {
  double perplexity = 0;
  double seconds = 0;
};

// What llama-perplexity says of the first `chunks` chunks of a file.
Peer run_peer(const std::filesystem::path& program, const std::filesystem::path& model,
              const std::filesystem::path& text, size_t chunks, int threads) {
  const std::string command =
      fmt::format("'{}' -m '{}' -f '{}' -c {} -b {} --chunks {} -t {} 2>&1", program.string(),
                  model.string(), text.string(), kChunk, kChunk, chunks, threads);
  const auto began = std::chrono::steady_clock::now();
  FILE* pipe = ::popen(command.c_str(), "r");
  OB_REQUIRE(pipe != nullptr, Io, "cannot run {}", command);
  std::string out;
  char buffer[4096];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    out.append(buffer, n);
  }
  ::pclose(pipe);
  const size_t at = out.find("Final estimate: PPL = ");
  OB_REQUIRE(at != std::string::npos, Io, "{} gave no estimate:\n{}", command,
             out.substr(out.size() > 2000 ? out.size() - 2000 : 0));
  OB_REQUIRE(out.find(fmt::format("over {} chunks", chunks)) != std::string::npos, Io,
             "the peer did not read {} chunks", chunks);
  return {.perplexity = std::stod(out.substr(at + 22)),
          .seconds = Seconds(std::chrono::steady_clock::now() - began).count()};
}

size_t chunks_wanted(const bars::Options& options, size_t all) {
  const char* given = std::getenv("OFFBOOK_CHUNKS");
  return given != nullptr ? static_cast<size_t>(std::atoi(given)) : options.quick ? 6 : all;
}

int run(const bars::Options& options) {
  const auto peer =
      bars::directory_from("OFFBOOK_LLAMA_CPP", "../peers/llama.cpp/bin") / "llama-perplexity";
  const auto gguf = bars::model_directory() / "smollm2-135m-instruct";
  for (const auto& path : {bars::data_directory() / "data/wikitext2.jsonl.zst", gguf, peer}) {
    if (!std::filesystem::exists(path)) {
      std::printf("missing: %s%s\n", path.c_str(),
                  path == peer ? " (bench/peers/build_llama_cpp builds it)" : "");
      return bars::kMissing;
    }
  }
  backend::ThreadPool pool(backend::default_thread_count());
  const model::LanguageModel model(real_file_system(), gguf, pool,
                                   {.backend = backend::best_cpu_backend()});
  const std::string text = wikitext(model.tokenizer(), chunks_wanted(options, 2000));
  const auto tokens = model.tokenizer().encode(text, {}).ids;
  const size_t chunks =
      std::min(chunks_wanted(options, tokens.size() / kChunk), tokens.size() / kChunk);
  const auto file =
      std::filesystem::temp_directory_path() / fmt::format("offbook_perplexity_{}", ::getpid());
  std::ofstream(file) << text;
  const Peer theirs = run_peer(peer, model.path(), file, chunks, backend::default_thread_count());
  std::filesystem::remove(file);

  model::Decoder decoder = model.make_decoder(pool, 2 * kChunk);
  const auto began = std::chrono::steady_clock::now();
  double sum = 0;
  for (size_t c = 0; c < chunks; ++c) {
    sum +=
        chunk_loss(model, decoder, std::span(tokens).subspan(c * kChunk, kChunk), options.sabotage);
  }
  const double seconds = Seconds(std::chrono::steady_clock::now() - began).count();
  const double ours = std::exp(sum / static_cast<double>(chunks * (kChunk / 2 - 1)));
  const double difference = ours / theirs.perplexity - 1;
  std::printf("%zu chunks of %zu tokens: ours %.4f in %.0f s, llama.cpp %.4f in %.0f s\n", chunks,
              kChunk, ours, seconds, theirs.perplexity, theirs.seconds);
  std::printf("perplexity: %+.3f%% of llama.cpp's (bar ±%.1f%%)\n", 100 * difference,
              100 * kTolerance);
  return std::abs(difference) <= kTolerance ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
