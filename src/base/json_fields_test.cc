#include "src/base/json_fields.h"

#include "src/base/error.h"

namespace offbook {
namespace {

nlohmann::json parse(const std::string& text, uint64_t max_bytes = 1 << 20) {
  return parse_json(std::as_bytes(std::span(text)), "a.json", max_bytes);
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::Corrupt);
    return e.what();
  }
  return "no error";
}

TEST(JsonFields, TypesAndRanges) {
  const auto json =
      parse(R"({"i": 7, "f": 2.5, "w": 4.0, "b": true, "s": "x", "n": null, "o": {"i": 1}})");
  const JsonFields fields(json, "a.json");
  EXPECT_EQ(fields.get_int("i", 0, 10), 7);
  EXPECT_EQ(fields.get_int("w", 0, 10), 4);
  EXPECT_EQ(fields.get_float("f", 0, 3), 2.5);
  EXPECT_EQ(fields.find_bool("b"), true);
  EXPECT_EQ(fields.get_string("s"), "x");
  EXPECT_FALSE(fields.has("n"));
  EXPECT_FALSE(fields.find_int("n", 0, 1).has_value());
  EXPECT_EQ(fields.find_object("o")->get_int("i", 1, 1), 1);
}

TEST(JsonFields, ErrorsNameFileFieldWantedAndCame) {
  const auto json =
      parse(R"({"i": 7, "s": "x", "u": 18446744073709551615, "f": 2.5, "a": [1, 2]})");
  const JsonFields fields(json, "a.json");
  EXPECT_EQ(error_of([&] { fields.get_int("i", 8, 9); }),
            "a.json: field i: wanted a number from 8 to 9, came 7");
  EXPECT_EQ(error_of([&] { fields.get_int("s", 8, 9); }),
            "a.json: field s: wanted a number from 8 to 9, came \"x\"");
  EXPECT_THAT(error_of([&] { fields.get_int("u", 0, INT64_MAX); }), testing::HasSubstr("came 184"));
  EXPECT_THAT(error_of([&] { fields.get_int("f", 0, 9); }), testing::HasSubstr("a whole number"));
  EXPECT_THAT(error_of([&] { fields.find_bool("a"); }), testing::HasSubstr("came an array of 2"));
  EXPECT_EQ(error_of([&] { fields.get_string("gone"); }), "a.json: field gone is missing");
}

TEST(JsonFields, HostileText) {
  EXPECT_THAT(error_of([] { parse("{\"a\": 1,}"); }),
              testing::HasSubstr("a.json: not JSON at offset 9"));
  EXPECT_THAT(error_of([] { parse(""); }), testing::HasSubstr("not JSON"));
  EXPECT_THAT(error_of([] { parse("\"\xff\""); }), testing::HasSubstr("not JSON"));
  EXPECT_EQ(error_of([] { parse(R"({"a": 1, "a": 2})"); }), "a.json: field a is there twice");
  EXPECT_THAT(error_of([] { parse(std::string(100'000, '[')); }),
              testing::HasSubstr("nested more than 64"));
  EXPECT_THAT(error_of([] { parse("[1, 2, 3]", 4); }), testing::HasSubstr("at most 4 are read"));
  EXPECT_THAT(error_of([] { parse("1e999"); }), testing::HasSubstr("not JSON"));
}

TEST(Printable, EscapesAndCuts) {
  EXPECT_EQ(printable("a\x1b\xc3"), "a\\x1b\\xc3");
  EXPECT_EQ(printable(std::string(81, 'x')), fmt::format("{:x<80}…", ""));
}

}  // namespace
}  // namespace offbook
