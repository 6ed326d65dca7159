// Small JSON files of other programs: parsed with limits, read field by field with types and
// ranges.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace offbook {

// Text from a file made fit for an error message: bytes outside printable ASCII as \xNN, cut after
// 80 bytes. Names in hostile files may hold terminal escapes or megabytes.
std::string printable(std::string_view text);

// One JSON value, whole input. `where` is what errors call it (a path). Errors: Corrupt for more
// than max_bytes, ill-formed JSON or UTF-8 (with offset), a key twice in one object, nesting
// above 64. Takes up to about 20 times the input in memory.
nlohmann::json parse_json(std::span<const std::byte> bytes, const std::string& where,
                          uint64_t max_bytes);

// An object whose fields are read with a type. find_… gives nothing where the field is absent or
// null; get_… is Corrupt there. A field of another type or outside its range is Corrupt with file,
// field, what was wanted and what came. Borrows the JSON value, which must outlive it.
class JsonFields {
 public:
  // Corrupt unless `value` is an object.
  JsonFields(const nlohmann::json& value, std::string where);

  const std::string& where() const noexcept { return where_; }
  const nlohmann::json& value() const noexcept { return *value_; }
  bool has(const std::string& key) const { return find(key) != nullptr; }
  const nlohmann::json* find(const std::string& key) const;  // nullptr where absent or null

  // A number without a fraction ("1e3" and "4.0" count) in [low, high].
  std::optional<int64_t> find_int(const std::string& key, int64_t low, int64_t high) const;
  std::optional<double> find_float(const std::string& key, double low, double high) const;
  std::optional<bool> find_bool(const std::string& key) const;
  std::optional<std::string> find_string(const std::string& key) const;
  std::optional<JsonFields> find_object(const std::string& key) const;

  int64_t get_int(const std::string& key, int64_t low, int64_t high) const;
  double get_float(const std::string& key, double low, double high) const;
  std::string get_string(const std::string& key) const;

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& wanted) const;
  template <typename T>
  T required(const std::string& key, std::optional<T> value) const;

  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace offbook
