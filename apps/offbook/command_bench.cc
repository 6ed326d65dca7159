// bench
#include "apps/offbook/commands.h"
#include "apps/offbook/speed.h"

#include <chrono>
#include <memory>

#include "src/backend/cpu/features.h"
#include "src/backend/cpu/peaks.h"

namespace offbook::app {
namespace {

using nlohmann::json;

double percent(double part, double whole) {
  return whole > 0 ? 100 * part / whole : 0;
}

// Arithmetic is held against the type that prompts multiply in: bf16 where the machine has it.
void say_speed(const Shell& shell, const Speed& s, const backend::CpuPeaks& peaks, json& out) {
  const double peak = std::max(peaks.bf16, peaks.f32);
  std::string limits;
  json row{{"name", s.name}, {"rate", s.rate}, {"unit", s.unit}, {"spread", s.spread}};
  if (s.gflops > 0) {
    limits += fmt::format("{:8.1f} GFLOP/s {:5.1f}% of {}", s.gflops, percent(s.gflops, peak),
                          peaks.bf16 > 0 ? "bf16" : "f32");
    row["gflops"] = s.gflops;
    row["share_of_peak"] = s.gflops / peak;
  }
  if (s.gigabytes > 0) {
    limits += fmt::format("{:8.1f} GB/s    {:5.1f}% of memory", s.gigabytes,
                          percent(s.gigabytes, peaks.dram));
    row["gigabytes"] = s.gigabytes;
    row["share_of_memory"] = s.gigabytes / peaks.dram;
  }
  shell.say("{:22} {:9.1f} {}  {}  ±{:.0f}%", s.name, s.rate, s.unit, limits, 50 * s.spread);
  out["speeds"].push_back(row);
}

// How long the two models take to open in a process that has run before: files in the page cache.
void say_opening(const Shell& shell, Engines& engines, json& out) {
  const auto time = [](const auto& open) {
    const auto began = std::chrono::steady_clock::now();
    open();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began)
        .count();
  };
  const double model = time([&] { engines.model(); });
  const double encoder = time([&] { engines.encoder(); });
  shell.say("opened in              {:9.1f} ms language model, {:.1f} ms sentence encoder", model,
            encoder);
  out["open_ms"] = {{"model", model}, {"encoder", encoder}};
}

void run_bench(const Shell& shell, const SpeedOptions& options) {
  Engines engines(shell);
  OB_REQUIRE(!engines.device().is_gpu(), Unsupported,
             "bench measures the CPU engine; add --device cpu");
  json out{{"cpu", backend::detect_cpu_features().model_name},
           {"threads", engines.pool().threads()},
           {"backend", std::string(backend::to_string(engines.context().backend))}};
  const backend::CpuPeaks peaks =
      backend::measure_cpu_peaks(engines.pool(), engines.context().backend);
  out["peaks"] = {{"f32_gflops", peaks.f32},
                  {"bf16_gflops", peaks.bf16},
                  {"int8_gops", peaks.int8},
                  {"dram_gb", peaks.dram}};
  shell.say("{}, {} threads, {}", out["cpu"].get<std::string>(), engines.pool().threads(),
            backend::to_string(engines.context().backend));
  shell.say("peaks: f32 {:.0f} GFLOP/s, bf16 {:.0f} GFLOP/s, int8 {:.0f} GOP/s, memory {:.1f} GB/s",
            peaks.f32, peaks.bf16, peaks.int8, peaks.dram);
  say_opening(shell, engines, out);
  measure_speeds(engines, options, [&](const Speed& s) { say_speed(shell, s, peaks, out); });
  shell.say_json(out);
}

}  // namespace

void add_bench(CLI::App& app, Shell& shell) {
  auto options = std::make_shared<SpeedOptions>();
  CLI::App* command = add_command(
      app, shell, "bench", "measures this machine's limits, and how near to them the engine runs",
      "  offbook bench\n  offbook bench --only decode --runs 9 --threads 1",
      [&shell, options] { run_bench(shell, *options); });
  command->add_option("--only", options->only, "figures whose names begin so");
  command->add_flag("--file-weights", options->has_file_weights,
                    "prompts and decoding also with the file's weights in place of packed ones");
  command->add_option("--runs", options->runs, "runs of each figure; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
}

}  // namespace offbook::app
