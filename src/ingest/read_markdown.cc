#include <array>
#include <mutex>

#include <cmark-gfm-core-extensions.h>
#include <cmark-gfm.h>

#include "src/base/error.h"
#include "src/ingest/bounded_parse.h"
#include "src/ingest/encoding.h"
#include "src/ingest/formats.h"
#include "src/ingest/html_text.h"
#include "src/ingest/text_builder.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

void* arena_calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    bytes = SIZE_MAX;  // refused by the arena's limit
  }
  void* out = ParseArena::current()->allocate(bytes);
  std::memset(out, 0, bytes);
  return out;
}
void* arena_realloc(void* old, size_t bytes) {
  return ParseArena::current()->reallocate(old, bytes);
}
void arena_free(void*) {}

cmark_mem kArenaMemory = {arena_calloc, arena_realloc, arena_free};

// Tables, ~~strikes~~ and task lists change what is text and what is a mark. Autolinks do not.
struct Extensions {
  std::array<cmark_syntax_extension*, 3> all;
};

const Extensions& extensions() {
  static const Extensions found = [] {
    cmark_gfm_core_extensions_ensure_registered();
    return Extensions{{cmark_find_syntax_extension("table"),
                       cmark_find_syntax_extension("strikethrough"),
                       cmark_find_syntax_extension("tasklist")}};
  }();
  return found;
}

struct MarkdownRun {
  std::string_view text;
  const Extensions* extensions;
  cmark_iter* iter;
};

void run_cmark(void* context) {
  auto* run = static_cast<MarkdownRun*>(context);
  cmark_parser* parser = cmark_parser_new_with_mem(CMARK_OPT_DEFAULT, &kArenaMemory);
  for (cmark_syntax_extension* extension : run->extensions->all) {
    if (extension != nullptr) {
      cmark_parser_attach_syntax_extension(parser, extension);
    }
  }
  cmark_parser_feed(parser, run->text.data(), run->text.size());
  cmark_node* document = cmark_parser_finish(parser);
  // Asking for a literal allocates its C string, once: do it here, where the arena may stop it.
  run->iter = cmark_iter_new(document);
  while (cmark_iter_next(run->iter) != CMARK_EVENT_DONE) {
    cmark_node_get_literal(cmark_iter_get_node(run->iter));
  }
  cmark_iter_reset(run->iter, document, CMARK_EVENT_ENTER);
}

// Turns cmark's walk into calls of the builder.
class MarkdownWriter {
 public:
  MarkdownWriter(const Limits& limits, TextBuilder& builder) : limits_(limits), builder_(builder) {}

  void visit(cmark_node* node, bool entering) {
    const cmark_node_type type = cmark_node_get_type(node);
    if (type == CMARK_NODE_LIST) {
      visit_list(node, entering);
    } else if (type == CMARK_NODE_ITEM && entering) {
      marker_ = item_marker();
    } else if (type == CMARK_NODE_PARAGRAPH && !entering) {
      end_paragraph();
    } else if (type == CMARK_NODE_HEADING && !entering) {
      end_heading(cmark_node_get_heading_level(node));
    } else if (entering) {
      visit_leaf(node, type);
    } else {
      leave_table_part(cmark_node_get_type_string(node));
    }
  }

  const std::string& title() const { return title_; }

 private:
  void visit_list(cmark_node* node, bool entering) {
    if (!entering) {
      lists_.pop_back();
      marker_.clear();
      if (lists_.empty()) {
        builder_.end_lines();
      }
      return;
    }
    const bool ordered = cmark_node_get_list_type(node) == CMARK_ORDERED_LIST;
    lists_.push_back(ordered ? std::max(0, cmark_node_get_list_start(node)) : -1);
  }

  std::string item_marker() {
    std::string marker(2 * (std::min<size_t>(lists_.size(), 8) - 1), ' ');
    if (lists_.back() >= 0) {
      return marker + fmt::format("{}. ", lists_.back()++);
    }
    return marker + "- ";
  }

  void visit_leaf(cmark_node* node, cmark_node_type type) {
    const char* literal = cmark_node_get_literal(node);
    const std::string_view text = literal != nullptr ? literal : "";
    if (type == CMARK_NODE_TEXT || type == CMARK_NODE_CODE) {
      run_ += text;
    } else if (type == CMARK_NODE_SOFTBREAK) {
      run_ += ' ';
    } else if (type == CMARK_NODE_LINEBREAK) {
      run_ += '\n';
    } else if (type == CMARK_NODE_HTML_INLINE && to_lower_ascii(text.substr(0, 3)) == "<br") {
      run_ += '\n';
    } else if (type == CMARK_NODE_CODE_BLOCK) {
      builder_.paragraph(text);
    } else if (type == CMARK_NODE_HTML_BLOCK) {
      append_html(text, limits_, builder_);
    }
  }

  // The table extension's node types are not in its headers; their names are.
  void leave_table_part(std::string_view type) {
    if (type == "table_cell") {
      run_ += " | ";
    } else if (type == "table_row" || type == "table_header") {
      end_row();
    } else if (type == "table") {
      builder_.end_lines();
    }
  }

  void end_paragraph() {
    if (marker_.empty()) {
      builder_.paragraph(run_);
    } else if (!is_blank_text(run_)) {
      builder_.line(marker_ + run_);
      marker_.assign(marker_.size(), ' ');  // later paragraphs of the item stand under its text
    }
    run_.clear();
  }

  void end_heading(int level) {
    if (title_.empty() && level == 1) {
      title_ = shorten(collapse_spaces(run_), 300);
    }
    builder_.heading(level, run_);
    run_.clear();
  }

  void end_row() {
    if (run_.ends_with(" | ")) {
      run_.resize(run_.size() - 3);
    }
    builder_.line(run_);
    run_.clear();
  }

  const Limits& limits_;
  TextBuilder& builder_;
  std::string run_;
  std::string marker_;
  std::string title_;
  std::vector<int> lists_;  // open lists: the next number, or -1 for bullets
};

// "---\n…\n---\n" at the start: YAML that a Markdown parser would read as a rule and a heading.
std::string_view front_matter(std::string_view text) {
  constexpr size_t kMaxBytes = 64 << 10;
  if (!text.starts_with("---\n")) {
    return {};
  }
  const size_t end = text.substr(0, kMaxBytes).find("\n---\n", 3);
  return end == std::string_view::npos ? std::string_view() : text.substr(0, end + 5);
}

std::string title_of(std::string_view front) {
  const size_t at = front.find("\ntitle:");
  if (at == std::string_view::npos) {
    return {};
  }
  std::string_view line = front.substr(at + 7);
  line = trim(line.substr(0, line.find('\n')));
  if (line.size() >= 2 && (line.front() == '"' || line.front() == '\'') &&
      line.back() == line.front()) {
    line = line.substr(1, line.size() - 2);
  }
  return shorten(collapse_spaces(line), 300);
}

// cmark looks at every open block and bracket again and again: runs of nothing but such marks make
// it quadratic.
void require_flat(std::string_view text, int max_nesting) {
  int marks = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool is_bullet = c == '-' || c == '*' || c == '+';
    if (c == '>' || c == '[' || (is_bullet && text.substr(i + 1, 1) == " ")) {
      ++marks;
    } else if (c != ' ') {
      marks = 0;
    }
    OB_REQUIRE(marks <= max_nesting, Unsupported,
               "its Markdown blocks are nested more than {} deep, the limit", max_nesting);
  }
}

}  // namespace

ReadResult read_markdown(const Source& source, const ReadOptions& options) {
  DecodedText decoded = decode_text(source.bytes);
  ReadResult result{.warnings = std::move(decoded.warnings)};
  TextBuilder builder(options.limits.max_text_bytes);
  const std::string_view front = front_matter(decoded.text);
  if (!front.empty()) {
    builder.paragraph(front.substr(4, front.size() - 9));
  }
  const std::string_view body = std::string_view(decoded.text).substr(front.size());
  require_flat(body, options.limits.max_nesting);
  ParseArena arena(options.limits);
  MarkdownRun run{body, &extensions(), nullptr};
  arena.run(run_cmark, &run, "Markdown");
  MarkdownWriter writer(options.limits, builder);
  // After a reset the iterator stands on the document; it has no text of its own.
  for (cmark_event_type event; (event = cmark_iter_next(run.iter)) != CMARK_EVENT_DONE;) {
    writer.visit(cmark_iter_get_node(run.iter), event == CMARK_EVENT_ENTER);
  }
  result.document.title = title_of(front).empty() ? writer.title() : title_of(front);
  builder.finish(result.document);
  return result;
}

}  // namespace offbook::ingest
