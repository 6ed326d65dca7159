#include "src/base/json_fields.h"

#include <cmath>
#include <set>
#include <vector>

#include "src/base/error.h"

namespace offbook {
namespace {

constexpr int kMaxDepth = 64;

// Called by the parser at each event; refuses what nlohmann would accept silently.
class Watcher {
 public:
  explicit Watcher(const std::string& where) : where_(where) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      OB_REQUIRE(depth < kMaxDepth, Corrupt, "{}: nested more than {} deep", where_, kMaxDepth);
    }
    if (event == Event::object_start) {
      keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      OB_REQUIRE(keys_.back().insert(key).second, Corrupt, "{}: field {} is there twice", where_,
                 printable(key));
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;
};

std::string describe(const nlohmann::json& value) {
  if (value.is_structured()) {
    return fmt::format("an {} of {}", value.type_name(), value.size());
  }
  return printable(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string out;
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte >= 0x20 && byte < 0x7f ? std::string(1, c) : fmt::format("\\x{:02x}", byte);
  }
  return text.size() > kShown ? out + "…" : out;
}

nlohmann::json parse_json(std::span<const std::byte> bytes, const std::string& where,
                          uint64_t max_bytes) {
  OB_REQUIRE(bytes.size() <= max_bytes, Corrupt, "{}: {} bytes of JSON, at most {} are read", where,
             bytes.size(), max_bytes);
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  Watcher watcher(where);
  try {
    return nlohmann::json::parse(begin, begin + bytes.size(), std::ref(watcher));
  } catch (const nlohmann::json::parse_error& e) {
    OB_THROW(Corrupt, "{}: not JSON at offset {}: {}", where, e.byte, printable(e.what()));
  } catch (const nlohmann::json::exception& e) {
    OB_THROW(Corrupt, "{}: not JSON: {}", where, printable(e.what()));
  }
}

JsonFields::JsonFields(const nlohmann::json& value, std::string where)
    : value_(&value), where_(std::move(where)) {
  OB_REQUIRE(value.is_object(), Corrupt, "{}: wanted an object, came {}", where_, describe(value));
}

const nlohmann::json* JsonFields::find(const std::string& key) const {
  const auto it = value_->find(key);
  return it == value_->end() || it->is_null() ? nullptr : &*it;
}

void JsonFields::fail(const std::string& key, const std::string& wanted) const {
  const nlohmann::json* value = find(key);
  OB_THROW(Corrupt, "{}: field {}: wanted {}, came {}", where_, key, wanted,
           value == nullptr ? "nothing" : describe(*value));
}

std::optional<int64_t> JsonFields::find_int(const std::string& key, int64_t low,
                                            int64_t high) const {
  const auto value = find_float(key, static_cast<double>(low), static_cast<double>(high));
  if (!value) {
    return std::nullopt;
  }
  if (std::trunc(*value) != *value) {
    fail(key, "a whole number");
  }
  const nlohmann::json& field = *find(key);
  if (field.is_number_integer()) {  // beyond 2^53 a double would round
    const bool fits =
        !field.is_number_unsigned() || field.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
    const int64_t whole = fits ? field.get<int64_t>() : high;
    if (!fits || whole < low || whole > high) {
      fail(key, fmt::format("a number from {} to {}", low, high));
    }
    return whole;
  }
  if (std::abs(*value) > 0x1p53) {
    fail(key, "a whole number below 2^53");
  }
  return static_cast<int64_t>(*value);
}

std::optional<double> JsonFields::find_float(const std::string& key, double low,
                                             double high) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  const double number = value->is_number() ? value->get<double>() : NAN;
  if (!(number >= low && number <= high)) {
    fail(key, fmt::format("a number from {} to {}", low, high));
  }
  return number;
}

std::optional<bool> JsonFields::find_bool(const std::string& key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_boolean()) {
    fail(key, "true or false");
  }
  return value->get<bool>();
}

std::optional<std::string> JsonFields::find_string(const std::string& key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_string()) {
    fail(key, "a string");
  }
  return value->get<std::string>();
}

std::optional<JsonFields> JsonFields::find_object(const std::string& key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  return JsonFields(*value, where_ + ": field " + key);
}

template <typename T>
T JsonFields::required(const std::string& key, std::optional<T> value) const {
  OB_REQUIRE(value.has_value(), Corrupt, "{}: field {} is missing", where_, key);
  return *std::move(value);
}

int64_t JsonFields::get_int(const std::string& key, int64_t low, int64_t high) const {
  return required(key, find_int(key, low, high));
}

double JsonFields::get_float(const std::string& key, double low, double high) const {
  return required(key, find_float(key, low, high));
}

std::string JsonFields::get_string(const std::string& key) const {
  return required(key, find_string(key));
}

}  // namespace offbook
