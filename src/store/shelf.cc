#include "src/store/shelf.h"

#include <algorithm>
#include <charconv>

#include "src/store/context_artefact.h"
#include "src/store/corpus.h"
#include "src/store/hash.h"

namespace offbook::store {
namespace {

constexpr std::string_view kSuffix = ".ob";

// The document whose directory this is; negative where it is none.
int64_t document_named(const std::string& name) {
  int64_t number = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc() && end == name.data() + name.size() ? number : -1;
}

bool is_entry_name(const std::string& name) {
  return name.ends_with(kSuffix) && is_hex_digest(name.substr(0, name.size() - kSuffix.size()));
}

}  // namespace

std::filesystem::path Shelf::path_of(const ShelfPlace& place) const {
  OB_CHECK(is_hex_digest(place.key) && place.document >= 0);
  return root_ / std::to_string(place.document) / (place.key + std::string(kSuffix));
}

std::optional<Artefact> Shelf::get(const ShelfPlace& place, ArtefactKind kind) const {
  const std::filesystem::path path = path_of(place);
  if (!fs_.stat(path)) {
    return std::nullopt;
  }
  try {
    Artefact artefact = decode_artefact(fs_.open(path), path.string());
    return artefact.kind == kind ? std::optional(std::move(artefact)) : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;  // what is damaged is a cache's to forget; `offbook check` names it
  }
}

bool Shelf::put(const ShelfPlace& place, const Artefact& artefact) {
  const std::filesystem::path path = path_of(place);
  try {
    fs_.create_directories(path.parent_path());
    write_file_atomically(fs_, path, encode_artefact(artefact));
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<Shelf::Entry> Shelf::entries() const {
  std::vector<Entry> out;
  const auto root = fs_.stat(root_);
  if (!root || !root->is_directory) {
    return out;
  }
  for (const std::string& directory : fs_.list(root_)) {
    const auto where = root_ / directory;
    const auto info = fs_.stat(where);
    if (!info || !info->is_directory) {
      out.push_back({.path = where, .bytes = info ? info->size_bytes : 0});
      continue;
    }
    for (const std::string& name : fs_.list(where)) {
      if (const auto file = fs_.stat(where / name)) {  // else another process removed it
        out.push_back({.path = where / name,
                       .document = is_entry_name(name) ? document_named(directory) : -1,
                       .bytes = file->size_bytes,
                       .put_ns = file->modified_ns});
      }
    }
  }
  return out;
}

std::string Shelf::fault(const Entry& entry) const {
  if (entry.document < 0) {
    return "no entry of a shelf";
  }
  try {
    const Artefact artefact = decode_artefact(fs_.open(entry.path), entry.path.string());
    if (artefact.kind == ArtefactKind::vectors) {
      to_vectors(artefact);
    } else {
      to_context(artefact, 0);
    }
    return {};
  } catch (const Error& e) {
    return e.what();
  }
}

void Shelf::remove(const Entry& entry) {
  try {
    fs_.remove(entry.path);
  } catch (const Error&) {  // gone already: another process was faster
    if (fs_.stat(entry.path)) {
      throw;
    }
  }
}

void Shelf::put_all(const std::vector<Item>& items) {
  if (items.empty()) {
    return;
  }
  for (const Item& item : items) {
    put(item.place, item.artefact);
  }
  enforce_budget();
}

uint64_t Shelf::enforce_budget() {
  std::vector<Entry> all = entries();
  uint64_t kept = 0;
  for (const Entry& e : all) {
    kept += e.bytes;
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Entry& a, const Entry& b) { return a.put_ns < b.put_ns; });
  uint64_t removed = 0;
  for (const Entry& e : all) {
    if (kept <= max_bytes_) {
      break;
    }
    remove(e);
    kept -= e.bytes;
    removed += e.bytes;
  }
  return removed;
}

Shelf shelf_of(Corpus& corpus, uint64_t max_bytes) {
  return Shelf(corpus.fs(), corpus.directory() / "shelf", max_bytes);
}

}  // namespace offbook::store
