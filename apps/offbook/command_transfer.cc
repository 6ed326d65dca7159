// export, import
#include "apps/offbook/commands.h"

#include <memory>

#include "src/store/transfer.h"

namespace offbook::app {
namespace {

struct TransferFlags {
  std::string corpus;
  std::filesystem::path file;
  store::ImportLimits limits;
};

void run_export(const Shell& shell, const TransferFlags& flags) {
  store::Corpus corpus = shell.corpora().open(flags.corpus, store::Access::read);
  store::export_corpus(corpus, flags.file);
  const uint64_t bytes = std::filesystem::file_size(flags.file);
  shell.say("{} written to {} ({})", flags.corpus, flags.file.string(), in_bytes(bytes));
  shell.say_json({{"corpus", flags.corpus}, {"file", flags.file.string()}, {"bytes", bytes}});
}

void run_import(const Shell& shell, const TransferFlags& flags) {
  store::import_corpus(shell.options.corpora, flags.corpus, flags.file, flags.limits);
  shell.say("{} is corpus {} now", flags.file.string(), flags.corpus);
  shell.say_json({{"corpus", flags.corpus}});
}

}  // namespace

void add_transfer(CLI::App& app, Shell& shell) {
  auto out = std::make_shared<TransferFlags>();
  CLI::App* command = add_command(app, shell, "export", "writes a corpus into one file",
                                  "  offbook export handbook handbook.offbook",
                                  [&shell, out] { run_export(shell, *out); });
  command->add_option("corpus", out->corpus, "name of the corpus")->required();
  command->add_option("file", out->file)->required();

  auto in = std::make_shared<TransferFlags>();
  command = add_command(app, shell, "import", "makes a corpus from an exported file",
                        "  offbook import handbook.offbook --into handbook",
                        [&shell, in] { run_import(shell, *in); });
  command->add_option("file", in->file)->required();
  command->add_option("--into", in->corpus, "name of the new corpus")->required();
  command->add_option("--max-bytes", in->limits.max_bytes, "most bytes unpacked")
      ->capture_default_str();
}

}  // namespace offbook::app
