#include <map>
#include <set>

#include "src/base/error.h"
#include "src/ingest/formats.h"
#include "src/ingest/text_builder.h"
#include "src/ingest/utf8.h"
#include "src/ingest/xml_reader.h"
#include "src/ingest/zip_archive.h"

namespace offbook::ingest {
namespace {

using Event = XmlReader::Event;
using StyleLevels = std::map<std::string, int, std::less<>>;  // style id → heading level from 1

// "heading 2" → 2, "Title" → 1, else 0.
int level_of_style_name(std::string_view name) {
  const std::string lower = to_lower_ascii(name);
  if (lower == "title") {
    return 1;
  }
  const bool is_heading = lower.starts_with("heading ") && lower.size() == 9;
  return is_heading && lower[8] >= '1' && lower[8] <= '9' ? lower[8] - '0' : 0;
}

// w:outlineLvl counts from 0; 9 means body text.
int level_of_outline(const std::optional<std::string>& value) {
  const bool is_level = value && value->size() == 1 && (*value)[0] >= '0' && (*value)[0] <= '8';
  return is_level ? (*value)[0] - '0' + 1 : 0;
}

StyleLevels read_styles(std::string_view xml) {
  StyleLevels levels;
  XmlReader reader(xml, "word/styles.xml");
  std::string id;
  while (reader.next()) {
    if (reader.event() != Event::start) {
      continue;
    }
    int level = 0;
    if (reader.name() == "style") {
      id = reader.attribute("styleId").value_or("");
    } else if (reader.name() == "name") {
      level = level_of_style_name(reader.attribute("val").value_or(""));
    } else if (reader.name() == "outlineLvl") {
      level = level_of_outline(reader.attribute("val"));
    }
    if (level > 0 && !id.empty()) {
      levels.emplace(id, level);
    }
  }
  return levels;
}

// Walks word/document.xml (or the notes) and calls the builder.
class DocxWriter {
 public:
  DocxWriter(const StyleLevels& levels, TextBuilder& builder)
      : levels_(levels), builder_(builder) {}

  void write(std::string_view xml, const std::string& member) {
    XmlReader reader(xml, member);
    while (reader.next()) {
      if (reader.event() == Event::start) {
        start(reader);
      } else if (reader.event() == Event::end) {
        end(reader.name());
      }
    }
  }

 private:
  void start(XmlReader& reader) {
    const std::string name(reader.name());
    static const std::set<std::string, std::less<>> kSkipped = {"Fallback", "instrText", "delText",
                                                                "del",      "moveFrom",  "rPr"};
    if (kSkipped.contains(name)) {
      reader.skip_element();
    } else if (name == "t") {
      run_ += reader.element_text();
    } else if (name == "tab" || name == "ptab") {
      run_ += in_properties_ ? "" : "\t";
    } else if (name == "br" || name == "cr") {
      run_ += '\n';
    } else if (name == "noBreakHyphen") {
      run_ += '-';
    } else if (name == "pPr") {
      in_properties_ = !reader.is_empty_element();
    } else if (name == "pStyle") {
      style_level_ = level_of(reader.attribute("val").value_or(""));
    } else if (name == "outlineLvl") {
      outline_level_ = level_of_outline(reader.attribute("val"));
    } else if (name == "numPr") {
      is_item_ = true;
    } else if (name == "p") {
      start_paragraph();
    } else if (name == "tbl") {
      ++tables_;
      builder_.end_lines();
    }
  }

  void end(std::string_view name) {
    if (name == "pPr") {
      in_properties_ = false;
    } else if (name == "p") {
      end_paragraph();
    } else if (name == "tc" && !is_blank_text(row_)) {
      row_ += " | ";
    } else if (name == "tr") {
      row_ = row_.ends_with(" | ") ? row_.substr(0, row_.size() - 3) : row_;
      builder_.line(row_);
      row_.clear();
    } else if (name == "tbl") {
      --tables_;
      builder_.end_lines();
    }
  }

  int level_of(std::string_view style) const {
    const auto it = levels_.find(style);
    return it == levels_.end() ? 0 : it->second;
  }

  void start_paragraph() {
    // A text box can hold paragraphs inside a paragraph; what stood before it is one of its own.
    flush();
    style_level_ = outline_level_ = 0;
    is_item_ = false;
  }

  void end_paragraph() {
    flush();
    style_level_ = outline_level_ = 0;
    is_item_ = false;
  }

  void flush() {
    const int level = outline_level_ > 0 ? outline_level_ : style_level_;
    if (is_blank_text(run_)) {
      run_.clear();
      return;
    }
    if (tables_ > 0) {
      row_ += row_.empty() || row_.ends_with(" | ") ? "" : " ";
      row_ += collapse_spaces(run_);
    } else if (level > 0) {
      builder_.heading(level, run_);
    } else if (is_item_) {
      builder_.line("- " + std::string(trim(run_)));
    } else {
      builder_.paragraph(run_);
    }
    run_.clear();
  }

  const StyleLevels& levels_;
  TextBuilder& builder_;
  std::string run_;
  std::string row_;
  int style_level_ = 0, outline_level_ = 0;
  int tables_ = 0;
  bool is_item_ = false, in_properties_ = false;
};

std::string title_in(std::string_view core_xml) {
  XmlReader reader(core_xml, "docProps/core.xml");
  while (reader.next()) {
    if (reader.event() == Event::start && reader.name() == "title") {
      return shorten(collapse_spaces(reader.element_text()), 300);
    }
  }
  return {};
}

}  // namespace

ReadResult read_docx(const Source& source, const ReadOptions& options) {
  const ZipArchive zip(source.bytes, options.limits, [](std::string_view name) {
    return name == "word/document.xml" || name == "word/styles.xml" ||
           name == "word/footnotes.xml" || name == "word/endnotes.xml" ||
           name == "docProps/core.xml";
  });
  ReadResult result;
  TextBuilder builder(options.limits.max_text_bytes);
  const std::string* styles = zip.find("word/styles.xml");
  const StyleLevels levels = styles != nullptr ? read_styles(*styles) : StyleLevels{};
  DocxWriter(levels, builder).write(zip.get("word/document.xml"), "word/document.xml");
  for (const char* notes : {"word/footnotes.xml", "word/endnotes.xml"}) {
    if (const std::string* xml = zip.find(notes)) {
      DocxWriter(levels, builder).write(*xml, notes);
    }
  }
  if (const std::string* core = zip.find("docProps/core.xml")) {
    result.document.title = title_in(*core);
  }
  builder.finish(result.document);
  return result;
}

}  // namespace offbook::ingest
