// Slots of an open corpus for the questions of one run.
#pragma once
#include "apps/offbook/compressors.h"

#include "src/answer/slots.h"

namespace offbook::app {

struct OpenSlots {
  CompressorChoice compressor;
  std::optional<answer::SlotSource> source;
  int kv_bits = 8;
  uint64_t max_bytes = 0;

  // Keeps what had to be made for a question, and counts uses, so that what is asked for often
  // stays. Another process that writes, or a folder that cannot be written, only means that nothing
  // is kept.
  void store_made(const Shell& shell, const std::string& corpus);
};

// Null where the corpus has no contexts, or none may be used; says why in a note where slots were
// to be expected. NotFound for `always` and `only` without slots.
std::unique_ptr<OpenSlots> open_slots(const Shell& shell, Engines& engines, OpenCorpus& open,
                                      answer::SlotUse use, const std::filesystem::path& weights);

// Documents of a generation that slots of this method may answer for: measured on questions, or,
// where none were, at a ratio that was chosen for their text.
std::set<int64_t> trusted_documents(store::Corpus& corpus, int64_t generation,
                                    const std::string& method);

// Ratios of the documents where each has its own; empty: all have one.
std::map<int64_t, double> ratios_of_documents(store::Corpus& corpus, int64_t generation,
                                              const OpenCompressor& compressor);

// The method a corpus was learned with when it is one that reads the question; else empty.
std::string query_aware_method(OpenCorpus& open);

// A method that keeps text, for passages. InvalidArgument for another kind.
CompressorChoice open_passage_compressor(const Shell& shell, Engines& engines,
                                         const std::string& method);

}  // namespace offbook::app
