#include "src/ingest/html_text.h"

#include <algorithm>
#include <vector>

#include <gumbo.h>

#include "src/base/error.h"
#include "src/ingest/bounded_parse.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

// What an element does to the text around and inside it.
enum class Role { inline_text, skip, block, heading, line, cell, list, preformatted, line_break };

Role role_of(const GumboElement& element) {
  switch (element.tag) {
    case GUMBO_TAG_SCRIPT:
    case GUMBO_TAG_STYLE:
    case GUMBO_TAG_TEMPLATE:
    case GUMBO_TAG_TITLE:
    case GUMBO_TAG_SVG:
    case GUMBO_TAG_IFRAME:
    case GUMBO_TAG_OBJECT:
    case GUMBO_TAG_CANVAS:
    case GUMBO_TAG_AUDIO:
    case GUMBO_TAG_VIDEO:
    case GUMBO_TAG_NAV:
    case GUMBO_TAG_SELECT:
    case GUMBO_TAG_TEXTAREA:
      return Role::skip;
    case GUMBO_TAG_H1:
    case GUMBO_TAG_H2:
    case GUMBO_TAG_H3:
    case GUMBO_TAG_H4:
    case GUMBO_TAG_H5:
    case GUMBO_TAG_H6:
      return Role::heading;
    case GUMBO_TAG_LI:
    case GUMBO_TAG_TR:
    case GUMBO_TAG_DT:
    case GUMBO_TAG_DD:
      return Role::line;
    case GUMBO_TAG_TD:
    case GUMBO_TAG_TH:
      return Role::cell;
    case GUMBO_TAG_UL:
    case GUMBO_TAG_OL:
      return Role::list;
    case GUMBO_TAG_PRE:
    case GUMBO_TAG_LISTING:
    case GUMBO_TAG_XMP:
      return Role::preformatted;
    case GUMBO_TAG_BR:
      return Role::line_break;
    case GUMBO_TAG_P:
    case GUMBO_TAG_DIV:
    case GUMBO_TAG_SECTION:
    case GUMBO_TAG_ARTICLE:
    case GUMBO_TAG_ASIDE:
    case GUMBO_TAG_HEADER:
    case GUMBO_TAG_FOOTER:
    case GUMBO_TAG_MAIN:
    case GUMBO_TAG_ADDRESS:
    case GUMBO_TAG_BLOCKQUOTE:
    case GUMBO_TAG_FIGURE:
    case GUMBO_TAG_FIGCAPTION:
    case GUMBO_TAG_HR:
    case GUMBO_TAG_TABLE:
    case GUMBO_TAG_CAPTION:
    case GUMBO_TAG_DL:
    case GUMBO_TAG_FORM:
    case GUMBO_TAG_FIELDSET:
    case GUMBO_TAG_LEGEND:
    case GUMBO_TAG_DETAILS:
    case GUMBO_TAG_SUMMARY:
    case GUMBO_TAG_BODY:
    case GUMBO_TAG_HEAD:
    case GUMBO_TAG_CENTER:
      return Role::block;
    default:
      return Role::inline_text;
  }
}

bool is_hidden(const GumboElement& element) {
  const GumboAttribute* aria = gumbo_get_attribute(&element.attributes, "aria-hidden");
  return gumbo_get_attribute(&element.attributes, "hidden") != nullptr ||
         (aria != nullptr && std::string_view(aria->value) == "true");
}

// Turns the walk over the tree into calls of the builder.
class HtmlWriter {
 public:
  explicit HtmlWriter(TextBuilder& builder) : builder_(builder) {}

  // False when the element is left out with all inside it.
  bool enter(const GumboElement& element) {
    const Role role = role_of(element);
    if (role == Role::skip || is_hidden(element)) {
      if (element.tag == GUMBO_TAG_TITLE) {
        take_title(element);
      }
      return false;
    }
    switch (role) {
      case Role::line_break:
        run_ += '\n';
        break;
      case Role::list:
        flush();
        lists_.push_back(element.tag == GUMBO_TAG_OL ? 1 : 0);
        break;
      case Role::line:
        flush();
        in_line_ = true;
        if (element.tag == GUMBO_TAG_LI) {
          marker_ = list_marker();
        }
        break;
      case Role::preformatted:
        flush();
        ++preformatted_;
        break;
      case Role::heading:
        flush();
        ++in_heading_;
        break;
      case Role::inline_text:
      case Role::cell:
        break;
      default:
        flush();
    }
    return true;
  }

  void leave(const GumboElement& element) {
    switch (role_of(element)) {
      case Role::heading:
        leave_heading(element.tag);
        break;
      case Role::line:
        flush();
        in_line_ = false;
        marker_.clear();
        break;
      case Role::cell:
        if (!is_blank_text(run_)) {
          trim_run();
          run_ += " | ";
        }
        break;
      case Role::list:
        flush();
        lists_.pop_back();
        if (lists_.empty()) {
          builder_.end_lines();
        }
        break;
      case Role::preformatted:
        flush();
        --preformatted_;
        break;
      case Role::block:
        flush();
        if (element.tag == GUMBO_TAG_TABLE || element.tag == GUMBO_TAG_DL) {
          builder_.end_lines();
        }
        break;
      default:
        break;
    }
  }

  void text(std::string_view text) {
    if (preformatted_ > 0) {
      run_ += text;
      return;
    }
    for (size_t i = 0; i < text.size(); ++i) {
      const bool no_break = text[i] == '\xC2' && i + 1 < text.size() && text[i + 1] == '\xA0';
      if (!no_break && !is_ascii_space(text[i])) {
        run_ += text[i];
        continue;
      }
      i += no_break ? 1 : 0;
      if (!run_.empty() && !is_ascii_space(run_.back())) {
        run_ += ' ';
      }
    }
  }

  std::string finish() {
    flush();
    return title_.empty() ? first_heading_ : title_;
  }

 private:
  void take_title(const GumboElement& element) {
    for (unsigned i = 0; i < element.children.length && title_.empty(); ++i) {
      const auto* child = static_cast<const GumboNode*>(element.children.data[i]);
      if (child->type == GUMBO_NODE_TEXT) {
        title_ = shorten(collapse_spaces(child->v.text.text), 300);
      }
    }
  }

  std::string list_marker() {
    std::string marker(lists_.empty() ? 0 : 2 * (std::min<size_t>(lists_.size(), 8) - 1), ' ');
    if (!lists_.empty() && lists_.back() > 0) {
      return marker + fmt::format("{}. ", lists_.back()++);
    }
    return marker + "- ";
  }

  void trim_run() {
    while (!run_.empty() && is_ascii_space(run_.back())) {
      run_.pop_back();
    }
  }

  void flush() {
    if (in_heading_ > 0) {
      return;  // blocks inside a heading are part of it
    }
    trim_run();
    if (run_.ends_with(" |")) {
      run_.resize(run_.size() - 2);
    }
    if (is_blank_text(run_)) {
      run_.clear();
      return;
    }
    if (preformatted_ > 0 || !in_line_) {
      builder_.paragraph(run_);
    } else {
      builder_.line(marker_ + run_);
      marker_.assign(marker_.size(), ' ');  // later blocks of one item stand under its text
    }
    run_.clear();
  }

  void leave_heading(GumboTag tag) {
    const int level = 1 + static_cast<int>(tag) - static_cast<int>(GUMBO_TAG_H1);
    if (--in_heading_ > 0) {
      return;
    }
    const std::string flat = collapse_spaces(run_);
    run_.clear();
    if (level == 1 && first_heading_.empty()) {
      first_heading_ = shorten(flat, 300);
    }
    builder_.heading(level, flat);
  }

  TextBuilder& builder_;
  std::string run_;  // text of the block that is being read
  std::string marker_;
  std::string title_;
  std::string first_heading_;
  std::vector<int> lists_;  // open lists: the next number, or 0 for bullets
  int preformatted_ = 0;
  int in_heading_ = 0;
  bool in_line_ = false;
};

const GumboVector* children_of(const GumboNode* node) {
  if (node->type == GUMBO_NODE_DOCUMENT) {
    return &node->v.document.children;
  }
  const bool is_element = node->type == GUMBO_NODE_ELEMENT || node->type == GUMBO_NODE_TEMPLATE;
  return is_element ? &node->v.element.children : nullptr;
}

void visit_leaf(const GumboNode* node, HtmlWriter& writer) {
  if (node->type == GUMBO_NODE_TEXT || node->type == GUMBO_NODE_WHITESPACE ||
      node->type == GUMBO_NODE_CDATA) {
    writer.text(node->v.text.text);
  }
}

// A walk with a stack of its own: the tree's depth is the page's choice.
void walk(const GumboNode* root, HtmlWriter& writer) {
  struct Frame {
    const GumboNode* node;
    unsigned next_child;
  };
  std::vector<Frame> stack = {{root, 0}};
  while (!stack.empty()) {
    Frame& top = stack.back();
    const GumboVector* children = children_of(top.node);
    if (top.next_child == children->length) {
      if (top.node->type != GUMBO_NODE_DOCUMENT) {
        writer.leave(top.node->v.element);
      }
      stack.pop_back();
      continue;
    }
    const auto* child = static_cast<const GumboNode*>(children->data[top.next_child++]);
    if (children_of(child) == nullptr) {
      visit_leaf(child, writer);
    } else if (writer.enter(child->v.element)) {
      stack.push_back({child, 0});
    }
  }
}

void* gumbo_allocate(void* arena, size_t bytes) {
  return static_cast<ParseArena*>(arena)->allocate(bytes);
}
void gumbo_free(void*, void*) {}

struct GumboRun {
  GumboOptions options;
  const char* data;
  size_t size;
  GumboOutput* output;
};

void run_gumbo(void* context) {
  auto* run = static_cast<GumboRun*>(context);
  run->output = gumbo_parse_with_options(&run->options, run->data, run->size);
}

}  // namespace

std::string append_html(std::string_view html, const Limits& limits, TextBuilder& builder) {
  OB_REQUIRE(estimate_nesting(html, limits.max_nesting) <= limits.max_nesting, Unsupported,
             "its elements are nested more than {} deep, the limit", limits.max_nesting);
  ParseArena arena(limits);
  GumboRun run{kGumboDefaultOptions, html.data(), html.size(), nullptr};
  run.options.allocator = gumbo_allocate;
  run.options.deallocator = gumbo_free;
  run.options.userdata = &arena;
  run.options.max_errors = 0;
  arena.run(run_gumbo, &run, "HTML");
  HtmlWriter writer(builder);
  walk(run.output->document, writer);
  return writer.finish();
}

}  // namespace offbook::ingest
