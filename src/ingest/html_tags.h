// A scan over the tags of an HTML page, without building anything.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace offbook::ingest {

struct Tag {
  size_t begin = 0;  // of "<"
  size_t end = 0;    // behind ">"
  std::string name;  // lower case
  bool is_closing = false;
  bool is_self_closing = false;
};

// Walks tags as a browser finds them: comments and the insides of script, style, title and textarea
// hold none, and ">" inside a quoted attribute ends no tag.
class TagScanner {
 public:
  explicit TagScanner(std::string_view html) : html_(html) {}
  std::optional<Tag> next();

 private:
  bool skip_declaration();
  void skip_raw_text(const std::string& name);
  size_t tag_end(size_t from) const;

  std::string_view html_;
  size_t at_ = 0;
};

// br, img, meta…: elements that have no end tag.
bool is_void_element(std::string_view name);

}  // namespace offbook::ingest
