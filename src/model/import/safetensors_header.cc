#include "src/model/import/safetensors_header.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/base/checked_math.h"
#include "src/base/error.h"
#include "src/base/json_fields.h"

namespace offbook::model::internal {
namespace {

struct NamedDtype {
  std::string_view name;
  uint64_t bytes;
  std::optional<Dtype> dtype;
};

constexpr NamedDtype kDtypes[] = {
    {"F32", 4, Dtype::f32}, {"F16", 2, Dtype::f16}, {"BF16", 2, Dtype::bf16},
    {"I32", 4, Dtype::i32}, {"I64", 8, Dtype::i64}, {"U8", 1, Dtype::u8},
    {"I8", 1, Dtype::i8},   {"F64", 8, {}},         {"I16", 2, {}},
    {"U16", 2, {}},         {"U32", 4, {}},         {"U64", 8, {}},
    {"BOOL", 1, {}},        {"F8_E4M3", 1, {}},     {"F8_E5M2", 1, {}},
};

// Takes the parser's events. The only shape it accepts is
// {name: {"dtype": string, "shape": [n…], "data_offsets": [begin, end]}…, "__metadata__": {key:
// string}}.
class HeaderEvents {
 public:
  explicit HeaderEvents(const std::string& file) : file_(file) {}

  SafetensorsHeader take() { return std::move(out_); }

  bool null() { fail("null"); }
  bool boolean(bool) { fail("a truth value"); }
  bool number_integer(int64_t value) { fail(fmt::format("the number {}", value)); }
  bool number_float(double value, const std::string&) { fail(fmt::format("the number {}", value)); }
  bool binary(nlohmann::json::binary_t&) { fail("binary data"); }

  bool number_unsigned(uint64_t value) {
    if (place_ != Place::list) {
      fail(fmt::format("the number {}", value));
    }
    const size_t most = field_ == "shape" ? kMaxRank : 2;
    OB_REQUIRE(list_.size() < most, Corrupt, "{}: tensor {}: {} has more than {} numbers", file_,
               shown(), field_, most);
    list_.push_back(value);
    return true;
  }

  bool string(std::string& value) {
    if (place_ == Place::metadata) {
      out_.metadata[field_] = std::move(value);
    } else if (place_ == Place::tensor && field_ == "dtype") {
      info_.dtype_name = std::move(value);
    } else {
      fail("a string");
    }
    return true;
  }

  bool start_object(size_t) {
    if (place_ == Place::before) {
      place_ = Place::top;
    } else if (place_ == Place::top) {
      place_ = name_ == "__metadata__" ? Place::metadata : Place::tensor;
      info_ = {};
      seen_.clear();
    } else {
      fail("an object");
    }
    return true;
  }

  bool key(std::string& key) {
    if (place_ == Place::top) {
      name_ = std::move(key);
      OB_REQUIRE(!name_.empty(), Corrupt, "{}: a tensor name is empty", file_);
      return true;
    }
    field_ = std::move(key);
    if (place_ == Place::tensor) {
      OB_REQUIRE(field_ == "dtype" || field_ == "shape" || field_ == "data_offsets", Corrupt,
                 "{}: tensor {}: field {} is not known", file_, shown(), printable(field_));
    }
    const bool is_new = place_ == Place::metadata
                            ? !out_.metadata.contains(field_)
                            : std::find(seen_.begin(), seen_.end(), field_) == seen_.end();
    OB_REQUIRE(is_new, Corrupt, "{}: tensor {}: field {} is there twice", file_, shown(),
               printable(field_));
    seen_.push_back(field_);
    return true;
  }

  bool start_array(size_t) {
    if (place_ != Place::tensor || field_ == "dtype") {
      fail("an array");
    }
    place_ = Place::list;
    list_.clear();
    return true;
  }

  bool end_array() {
    place_ = Place::tensor;
    if (field_ == "shape") {
      shape_ = list_;
    } else {
      OB_REQUIRE(list_.size() == 2 && list_[0] <= list_[1], Corrupt,
                 "{}: tensor {}: data_offsets [{}], wanted [begin, end]", file_, shown(),
                 fmt::join(list_, ", "));
      info_.offset = list_[0];
      info_.bytes = list_[1] - list_[0];
    }
    return true;
  }

  bool end_object() {
    if (place_ == Place::tensor) {
      finish_tensor();
    }
    place_ = place_ == Place::top ? Place::after : Place::top;
    seen_.clear();
    return true;
  }

  bool parse_error(size_t offset, const std::string&, const nlohmann::json::exception& e) {
    OB_THROW(Corrupt, "{}: header is not JSON at offset {}: {}", file_, 8 + offset,
             printable(e.what()));
  }

 private:
  enum class Place { before, top, tensor, list, metadata, after };

  [[noreturn]] void fail(const std::string& came) const {
    OB_REQUIRE(place_ != Place::before, Corrupt, "{}: header: wanted an object, came {}", file_,
               came);
    OB_REQUIRE(place_ != Place::top, Corrupt, "{}: tensor {}: wanted an object, came {}", file_,
               shown(), came);
    const std::string wanted =
        place_ == Place::metadata || field_ == "dtype" ? "a string" : "an array of whole numbers";
    OB_THROW(Corrupt, "{}: tensor {}: field {}: wanted {}, came {}", file_, shown(),
             printable(field_), wanted, came);
  }

  std::string shown() const { return printable(name_); }

  void finish_tensor() {
    OB_REQUIRE(seen_.size() == 3, Corrupt,
               "{}: tensor {}: wanted dtype, shape and data_offsets, came {}", file_, shown(),
               fmt::join(seen_, ", "));
    info_.name = name_;
    // Empty axes count as one here, so that no stride can overflow either.
    uint64_t elems = 1, padded = 1;
    std::vector<int64_t> dims;
    for (const uint64_t size : shape_) {
      padded = checked_mul(padded, std::max<uint64_t>(size, 1), "shape of tensor " + shown());
      elems *= size;
      OB_REQUIRE(padded <= INT64_MAX, Corrupt, "{}: tensor {}: {} elements", file_, shown(),
                 padded);
      dims.push_back(static_cast<int64_t>(size));
    }
    info_.shape = Shape(dims);
    check_dtype(elems);
    out_.tensors.push_back(std::move(info_));
  }

  void check_dtype(uint64_t elems) {
    const auto* known =
        std::find_if(std::begin(kDtypes), std::end(kDtypes),
                     [&](const NamedDtype& d) { return d.name == info_.dtype_name; });
    if (known == std::end(kDtypes)) {
      return;
    }
    info_.dtype = known->dtype;
    const uint64_t bytes = checked_mul(elems, known->bytes, "size of tensor " + shown());
    OB_REQUIRE(info_.bytes == bytes, Corrupt,
               "{}: tensor {}: {} {} takes {} bytes, data_offsets give {}", file_, shown(),
               info_.dtype_name, to_string(info_.shape), bytes, info_.bytes);
  }

  const std::string& file_;
  SafetensorsHeader out_;
  Place place_ = Place::before;
  std::string name_, field_;
  std::vector<std::string> seen_;  // fields of the current tensor
  std::vector<uint64_t> list_, shape_;
  SafetensorsInfo info_;
};

}  // namespace

SafetensorsHeader read_safetensors_header(std::span<const std::byte> text,
                                          const std::string& file) {
  HeaderEvents events(file);
  const auto* begin = reinterpret_cast<const char*>(text.data());
  OB_REQUIRE(!text.empty() && *begin == '{', Corrupt,
             "{}: header at offset 8 does not begin with '{{'", file);
  nlohmann::json::sax_parse(begin, begin + text.size(), &events);
  return events.take();
}

}  // namespace offbook::model::internal
