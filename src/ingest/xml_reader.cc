#include "src/ingest/xml_reader.h"

#include <limits>

#include <libxml/tree.h>
#include <libxml/xmlreader.h>

#include "src/base/error.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

std::string_view view(const xmlChar* text) {
  return text != nullptr ? std::string_view(reinterpret_cast<const char*>(text))
                         : std::string_view();
}

// libxml2 prints to stderr unless told otherwise; the message is fetched when it is wanted.
void ignore_error(void*, const char*, xmlParserSeverities, xmlTextReaderLocatorPtr) {}

}  // namespace

void XmlReader::Free::operator()(_xmlTextReader* reader) const {
  xmlFreeTextReader(reader);
}

XmlReader::XmlReader(std::string_view xml, std::string what) : what_(std::move(what)) {
  OB_REQUIRE(xml.size() <= std::numeric_limits<int>::max(), Unsupported, "{} is longer than 2 GiB",
             what_);
  constexpr int kOptions = XML_PARSE_NONET | XML_PARSE_NOCDATA | XML_PARSE_COMPACT;
  reader_.reset(
      xmlReaderForMemory(xml.data(), static_cast<int>(xml.size()), nullptr, nullptr, kOptions));
  OB_REQUIRE(reader_ != nullptr, OutOfMemory, "no memory to read {}", what_);
  xmlTextReaderSetErrorHandler(reader_.get(), ignore_error, nullptr);
}

void XmlReader::fail() const {
  const int line = xmlTextReaderGetParserLineNumber(reader_.get());
  const xmlError* error = xmlGetLastError();
  const std::string_view message = error != nullptr && error->message != nullptr
                                       ? trim(error->message)
                                       : std::string_view("not well formed");
  OB_THROW(Corrupt, "{} is not well-formed XML at line {}: {}", what_, line, message);
}

bool XmlReader::next() {
  for (;;) {
    xmlResetLastError();
    const int result = xmlTextReaderRead(reader_.get());
    if (result == 0) {
      return false;
    }
    if (result < 0) {
      fail();
    }
    switch (xmlTextReaderNodeType(reader_.get())) {
      case XML_READER_TYPE_ELEMENT:
        event_ = Event::start;
        return true;
      case XML_READER_TYPE_END_ELEMENT:
        event_ = Event::end;
        return true;
      case XML_READER_TYPE_TEXT:
      case XML_READER_TYPE_CDATA:
      case XML_READER_TYPE_SIGNIFICANT_WHITESPACE:
        event_ = Event::text;
        return true;
      case XML_READER_TYPE_DOCUMENT_TYPE: {
        const xmlNode* dtd = xmlTextReaderCurrentNode(reader_.get());
        OB_REQUIRE(dtd != nullptr && dtd->children == nullptr, Unsupported,
                   "{} declares entities of its own in a DOCTYPE, which is not read", what_);
        break;
      }
      default:
        break;
    }
  }
}

std::string_view XmlReader::name() const {
  return view(xmlTextReaderConstLocalName(reader_.get()));
}

std::string_view XmlReader::text() const {
  return view(xmlTextReaderConstValue(reader_.get()));
}

std::optional<std::string> XmlReader::attribute(std::string_view local_name) const {
  std::optional<std::string> found;
  while (xmlTextReaderMoveToNextAttribute(reader_.get()) == 1) {
    if (!found && view(xmlTextReaderConstLocalName(reader_.get())) == local_name) {
      found = std::string(view(xmlTextReaderConstValue(reader_.get())));
    }
  }
  xmlTextReaderMoveToElement(reader_.get());
  return found;
}

bool XmlReader::is_empty_element() const {
  return xmlTextReaderIsEmptyElement(reader_.get()) == 1;
}

int XmlReader::depth() const {
  return xmlTextReaderDepth(reader_.get());
}

void XmlReader::skip_element() {
  if (is_empty_element()) {
    return;
  }
  const int start = depth();
  while (next() && !(event_ == Event::end && depth() == start)) {
  }
}

std::string XmlReader::element_text() {
  std::string out;
  if (is_empty_element()) {
    return out;
  }
  const int start = depth();
  while (next() && !(event_ == Event::end && depth() == start)) {
    if (event_ == Event::text) {
      out += text();
    }
  }
  return out;
}

}  // namespace offbook::ingest
