#include "src/evaluate/suite_file.h"

#include <algorithm>

#include "src/base/error.h"
#include "src/base/json_fields.h"

namespace offbook::evaluate::internal {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  return begin == std::string_view::npos
             ? std::string_view()
             : text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) { sections_.push_back({"", 1, {}}); }

  void line(std::string_view raw) {
    ++number_;
    const std::string_view text = trimmed(raw);
    if (raw.starts_with("  ") && value_ != nullptr) {
      append(raw.substr(2));
    } else if (text.empty()) {
      ++blank_;
    } else if (text.front() == '#') {
      blank_ = 0;
    } else if (text.front() == '[') {
      heading(text);
    } else {
      key(text);
    }
  }
  std::vector<SuiteSection> take() { return std::move(sections_); }

 private:
  template <typename... Args>
  void require(bool holds, fmt::format_string<Args...> format, Args&&... args) const {
    OB_REQUIRE(holds, Corrupt, "{}:{}: {}", file_, number_,
               fmt::format(format, std::forward<Args>(args)...));
  }

  void append(std::string_view text) {
    while (!text.empty() && text.back() == '\r') {
      text.remove_suffix(1);
    }
    if (!value_->text.empty() || is_started_) {
      value_->text.append(static_cast<size_t>(blank_) + 1, '\n');
    }
    value_->text += text;
    is_started_ = true;
    blank_ = 0;
  }

  void heading(std::string_view text) {
    require(text.back() == ']' && text.size() > 2, "a heading is [name], not {}", printable(text));
    const std::string name(trimmed(text.substr(1, text.size() - 2)));
    for (const SuiteSection& section : sections_) {
      require(section.name != name, "the task {} stands twice; the first is in line {}",
              printable(name), section.line);
    }
    sections_.push_back({name, number_, {}});
    value_ = nullptr;
    blank_ = 0;
  }

  void key(std::string_view text) {
    const size_t equals = text.find('=');
    require(equals != std::string_view::npos && equals > 0,
            "wanted [task], key = value, or a line indented by two spaces, not {}",
            printable(text));
    const std::string name(trimmed(text.substr(0, equals)));
    for (const SuiteKey& other : sections_.back().keys) {
      require(other.name != name, "{} stands twice in this section; the first is in line {}",
              printable(name), other.value.line);
    }
    const std::string_view value = trimmed(text.substr(equals + 1));
    sections_.back().keys.push_back({name, {std::string(value), number_}});
    value_ = &sections_.back().keys.back().value;
    is_started_ = !value.empty();
    blank_ = 0;
  }

  const std::string& file_;
  std::vector<SuiteSection> sections_;
  SuiteValue* value_ = nullptr;
  bool is_started_ = false;
  int number_ = 0;
  int blank_ = 0;  // blank lines that belong to the value if it goes on
};

}  // namespace

std::vector<SuiteSection> read_suite_file(std::string_view text, const std::string& file) {
  Reader reader(file);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    reader.line(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return reader.take();
}

}  // namespace offbook::evaluate::internal
