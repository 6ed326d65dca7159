// A whole corpus as one file: zstd-compressed pax tar of corpus.db and the artefacts it names.
#pragma once
#include <filesystem>
#include <limits>
#include <string>

#include "src/store/corpora.h"

namespace offbook::store {

// Writes `file` (beside and renamed). A consistent state, also while another process writes; what
// was removed from the corpus is not in it. Same corpus, same bytes of artefacts; real file system
// only.
void export_corpus(Corpus& corpus, const std::filesystem::path& file);

struct ImportLimits {
  uint64_t max_bytes = uint64_t{1} << 40;  // unpacked; also never more than the disk has free
  int64_t max_files = 10'000'000;
};

// Unpacks into a new corpus of `root`. The file is hostile until checked: only the two kinds of
// names of docs/formats/corpus.md and only regular files are taken, sizes are capped while
// unpacking, every artefact must have the checksum in its name, and the database must be sound, of
// a known format and without any trigger, view or table of its own. Nothing is left behind on
// failure. Corrupt, Unsupported, InvalidArgument (name taken), Io.
void import_corpus(const std::filesystem::path& root, const std::string& name,
                   const std::filesystem::path& file, const ImportLimits& limits);

}  // namespace offbook::store
