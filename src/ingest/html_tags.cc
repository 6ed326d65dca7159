#include "src/ingest/html_tags.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "src/ingest/html_text.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

constexpr std::array<std::string_view, 16> kVoid = {
    "area", "base", "br",     "col",   "embed",  "hr",    "img", "input",
    "link", "meta", "keygen", "param", "source", "track", "wbr", "frame"};
constexpr std::array<std::string_view, 7> kRawText = {"script",   "style", "title", "textarea",
                                                      "noframes", "xmp",   "iframe"};
// Their end tag may be left out, and another of them ends them: they do not nest by themselves.
constexpr std::array<std::string_view, 16> kImpliedEnd = {
    "p",  "li", "dt",    "dd",    "tr",    "td",       "th",      "option",
    "rt", "rp", "thead", "tbody", "tfoot", "colgroup", "caption", "optgroup"};

template <size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

bool is_void_element(std::string_view name) {
  return is_one_of(kVoid, name);
}

// At "<!" or "<?": moves behind it.
bool TagScanner::skip_declaration() {
  const std::string_view rest = html_.substr(at_);
  size_t end;
  if (rest.starts_with("<!--")) {
    end = html_.find("-->", at_ + 4);
    at_ = end == std::string_view::npos ? html_.size() : end + 3;
    return true;
  }
  if (rest.starts_with("<!") || rest.starts_with("<?")) {
    end = html_.find('>', at_);
    at_ = end == std::string_view::npos ? html_.size() : end + 1;
    return true;
  }
  return false;
}

size_t TagScanner::tag_end(size_t from) const {
  char quote = 0;
  char before = 0;  // last character that is no space: a quote opens a value only behind "="
  for (size_t i = from; i < html_.size(); ++i) {
    const char c = html_[i];
    if (quote != 0) {
      quote = c == quote ? 0 : quote;
    } else if ((c == '"' || c == '\'') && before == '=') {
      quote = c;
    } else if (c == '>') {
      return i + 1;
    }
    before = is_ascii_space(c) ? before : c;
  }
  return html_.size();
}

void TagScanner::skip_raw_text(const std::string& name) {
  for (size_t at = at_; (at = html_.find("</", at)) != std::string_view::npos; at += 2) {
    if (to_lower_ascii(html_.substr(at + 2, name.size())) == name) {
      at_ = at;
      return;
    }
  }
  at_ = html_.size();
}

std::optional<Tag> TagScanner::next() {
  while ((at_ = std::min(html_.find('<', at_), html_.size())) < html_.size()) {
    if (skip_declaration()) {
      continue;
    }
    const bool closing = at_ + 1 < html_.size() && html_[at_ + 1] == '/';
    const size_t name_at = at_ + (closing ? 2 : 1);
    if (name_at >= html_.size() || !is_letter(html_[name_at])) {
      ++at_;
      continue;
    }
    const size_t name_end = std::min(html_.find_first_of(" \t\n\f\r/>", name_at), html_.size());
    Tag tag;
    tag.begin = at_;
    tag.name = to_lower_ascii(html_.substr(name_at, name_end - name_at));
    tag.end = tag_end(name_end);
    tag.is_closing = closing;
    tag.is_self_closing = tag.end >= 2 && html_.substr(tag.end - 2, 2) == "/>";
    at_ = tag.end;
    if (!closing && !tag.is_self_closing && is_one_of(kRawText, tag.name)) {
      skip_raw_text(tag.name);
    }
    return tag;
  }
  return std::nullopt;
}

int estimate_nesting(std::string_view html, int stop_above) {
  TagScanner scanner(html);
  std::unordered_map<std::string, int> open;
  int depth = 0, deepest = 0, foreign = 0;  // foreign: inside svg or math, where "/>" closes
  while (deepest <= stop_above) {
    const auto tag = scanner.next();
    if (!tag) {
      break;
    }
    if (is_void_element(tag->name) || is_one_of(kImpliedEnd, tag->name) ||
        (tag->is_self_closing && foreign > 0)) {
      continue;
    }
    int& count = open[tag->name];
    const int change = !tag->is_closing ? 1 : count > 0 ? -1 : 0;
    count += change;
    depth += change;
    foreign += tag->name == "svg" || tag->name == "math" ? change : 0;
    deepest = std::max(deepest, depth);
  }
  return deepest;
}

std::string expand_self_closing(std::string_view xhtml) {
  TagScanner scanner(xhtml);
  std::string out;
  out.reserve(xhtml.size() + xhtml.size() / 16);
  size_t copied = 0;
  while (const auto tag = scanner.next()) {
    if (!tag->is_self_closing || tag->is_closing || is_void_element(tag->name)) {
      continue;
    }
    out.append(xhtml, copied, tag->end - 2 - copied);
    out += "></" + tag->name + ">";
    copied = tag->end;
  }
  out.append(xhtml.substr(copied));
  return out;
}

}  // namespace offbook::ingest
