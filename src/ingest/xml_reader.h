// A pull reader over XML that comes from outside.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct _xmlTextReader;

namespace offbook::ingest {

// Walks elements and text. No network, no external files, and no entity declared by the document:
// a DOCTYPE with declarations of its own is refused before anything of it is used (XXE, entity
// bombs). Names are without prefix. Not thread-safe; memory is bounded by the depth.
class XmlReader {
 public:
  enum class Event { start, end, text };

  // Keeps a view of `xml`; `what` names it in errors.
  XmlReader(std::string_view xml, std::string what);

  // False at the end. Corrupt, with the line, for XML that is not well formed; Unsupported for a
  // DOCTYPE with declarations.
  bool next();

  Event event() const noexcept { return event_; }
  // Local name of the element that starts or ends.
  std::string_view name() const;
  // Text between elements; entities of XML itself are resolved.
  std::string_view text() const;
  // Of the element that starts, by local name.
  std::optional<std::string> attribute(std::string_view local_name) const;
  // True for an element that ends where it starts (no `end` follows).
  bool is_empty_element() const;
  int depth() const;

  // From the start of an element: moves to its end (nothing inside is seen).
  void skip_element();
  // From the start of an element: all text inside, and moves to its end.
  std::string element_text();

 private:
  struct Free {
    void operator()(_xmlTextReader* reader) const;
  };
  [[noreturn]] void fail() const;

  std::unique_ptr<_xmlTextReader, Free> reader_;
  std::string what_;
  Event event_ = Event::start;
};

}  // namespace offbook::ingest
