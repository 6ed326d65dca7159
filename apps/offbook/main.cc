// offbook: a folder of documents → a model that answers from them with citations.
#include "apps/offbook/commands.h"

#include <cstdio>

#include <malloc.h>

namespace offbook::app {
namespace {

void add_global_options(CLI::App& app, Options& o) {
  app.add_option("--corpora", o.corpora, "directory that holds the corpora")->capture_default_str();
  app.add_option("--models", o.models, "directory that holds the models")->capture_default_str();
  app.add_option("--shipped-models", o.shipped_models,
                 "directory of the compressor weights that came with the program")
      ->capture_default_str();
  app.add_option("--cache", o.cache, "directory for what can be made again")->capture_default_str();
  app.add_option("--model", o.model, "language model: a name in --models, or a path")
      ->capture_default_str();
  app.add_option("--encoder", o.encoder, "sentence encoder: a name in --models, or a path")
      ->capture_default_str();
  app.add_option("--chat-template", o.chat_template, "chat form, where the model's is not known");
  app.add_option("--device", o.device, "auto, cpu, avx2, reference, cuda or cuda:N")
      ->capture_default_str();
  app.add_option("--gpu-memory", o.gpu_memory_bytes,
                 "most GPU memory to take, as 8GiB; 0: what is free")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  app.add_option("--gpu-weights", o.gpu_weights,
                 "matrices on a GPU: bf16, stored (as in the file: less memory) or auto")
      ->capture_default_str();
  app.add_option("--threads", o.threads, "threads; 0: as many as the machine has")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_flag("--profile", o.profile, "say at the end where the time of the models went");
  app.add_flag("--json", o.json, "results as JSON on standard output");
  app.add_flag("--quiet", o.quiet, "no progress and no notes");
  app.add_option("--log", o.log, "file that gets ids and timings of what was done, never text");
}

int fail(const Shell& shell, ErrorCode code, const std::string& message) {
  shell.say_json({{"error", to_string(code)}, {"message", message}});
  std::fprintf(stderr, "offbook: %s\n", message.c_str());
  return static_cast<int>(code);
}

int run(int argc, char** argv) {
  Shell shell;
  shell.options = options_from_environment();
  CLI::App app("Learns a folder of documents and answers from it, with citations.", "offbook");
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", "offbook 0.1.0");
  app.set_config("--config", default_config_file().string(),
                 "file of options (TOML): global ones on top, a command's under [command]");
  app.allow_config_extras(CLI::config_extras_mode::error);
  add_global_options(app, shell.options);
  for (const auto add : {add_learn, add_train, add_ask, add_search, add_corpora, add_status,
                         add_inspect, add_check, add_transfer, add_models, add_train_compressor,
                         add_data, add_evaluate, add_bench, add_completion}) {
    add(app, shell);
  }
  app.footer(
      "Exit codes: 0 done, 2 wrong use, 3 not found, 4 damaged, 5 not supported, 6 memory,\n"
      "7 system (disk full, in use), 8 stopped. `offbook COMMAND --help` has examples.");
  try {
    app.parse(argc, argv);
    watch_signals();
    shell.action();
    return 0;
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    const auto left = app.remaining();
    const bool is_unknown = app.get_subcommands().empty() && !left.empty() && left[0][0] != '-';
    return fail(shell, ErrorCode::InvalidArgument,
                (is_unknown ? "no command is called '" + left[0] + "'" : std::string(e.what())) +
                    "; see `offbook --help`");
  } catch (const Error& e) {
    return fail(shell, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return fail(shell, ErrorCode::OutOfMemory,
                "out of memory; free some, or take a smaller model (--model) or fewer --threads");
  } catch (const std::exception& e) {
    return fail(shell, ErrorCode::Io, std::string("internal error: ") + e.what());
  }
}

}  // namespace
}  // namespace offbook::app

int main(int argc, char** argv) {
  // Tensors of a megabyte and more go back to the system when they are freed. Left alone, the
  // threshold rises to the largest that was freed (to 32 MiB), and what a stage leaves stays
  // resident in pieces: 0.3 GiB of `learn`.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  return offbook::app::run(argc, argv);
}
