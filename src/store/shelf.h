// What was computed of passages, kept on disk for the next process that needs it: a cache with a
// budget, beside a corpus and no part of it (docs/formats/corpus.md, "shelf").
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/store/artefact.h"

namespace offbook::store {

class Corpus;

// Where something stands: under the document it was computed of, so that it can go with it; 0 for
// what belongs to no document. `key` is 32 lower-case hex digits over all that decides the content.
struct ShelfPlace {
  int64_t document = 0;
  std::string key;
};

// Several processes may read and write at once: files are complete before they get their name, and
// equal places have equal content. One object is not thread-safe.
class Shelf {
 public:
  Shelf(FileSystem& fs, std::filesystem::path root, uint64_t max_bytes)
      : fs_(fs), root_(std::move(root)), max_bytes_(max_bytes) {}

  // What was put there, as views of the mapped file. Absent when it was never put, was evicted, is
  // damaged or of another kind.
  std::optional<Artefact> get(const ShelfPlace& place, ArtefactKind kind) const;
  // False when the disk does not take it: then it is computed again next time.
  bool put(const ShelfPlace& place, const Artefact& artefact);
  struct Item {
    ShelfPlace place;
    Artefact artefact;
  };
  // Puts all, as far as the disk takes them, and keeps within the budget. Nothing to do for none.
  void put_all(const std::vector<Item>& items);

  // Removes what was put longest ago until at most max_bytes are kept. Returns bytes removed.
  uint64_t enforce_budget();
  uint64_t max_bytes() const { return max_bytes_; }

  struct Entry {
    std::filesystem::path path;
    int64_t document = -1;  // negative: nothing that a shelf wrote
    uint64_t bytes = 0;
    int64_t put_ns = 0;
  };
  // Everything below the root, in order of paths. Cost: one stat a file.
  std::vector<Entry> entries() const;
  // Why a file is no sound entry; empty when it is. Reads all of it.
  std::string fault(const Entry& entry) const;
  void remove(const Entry& entry);

 private:
  std::filesystem::path path_of(const ShelfPlace& place) const;

  FileSystem& fs_;
  std::filesystem::path root_;
  uint64_t max_bytes_;
};

// What a corpus's shelf may take where nobody says otherwise: 2 GiB hold about 180,000 tokens of
// SmolLM2 in 8 bits.
inline constexpr uint64_t kDefaultShelfBytes = uint64_t{2} << 30;

// The shelf beside a corpus, which may be open for reading only.
Shelf shelf_of(Corpus& corpus, uint64_t max_bytes = kDefaultShelfBytes);

}  // namespace offbook::store
