#include "src/base/error.h"

#include "src/base/checked_math.h"

namespace offbook {
namespace {

TEST(Error, CarriesCodeMessageAndContext) {
  try {
    try {
      OB_THROW(Corrupt, "tensor {} ends at {}", "a", 7);
    } catch (Error& e) {
      e.add_context("load model.gguf");
      throw;
    }
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::Corrupt);
    EXPECT_STREQ(e.what(), "load model.gguf: tensor a ends at 7");
    EXPECT_NE(std::string_view(e.file()).find("error_test.cc"), std::string_view::npos);
  }
}

TEST(Error, CheckIsALogicErrorNotAnError) { EXPECT_THROW(OB_CHECK(1 == 2), std::logic_error); }

TEST(CheckedMath, OverflowIsCorrupt) {
  EXPECT_EQ(checked_mul(6, 7, "x"), 42u);
  EXPECT_THROW(checked_mul(uint64_t{1} << 40, uint64_t{1} << 30, "x"), Error);
  EXPECT_THROW(checked_add(~uint64_t{0}, 1, "x"), Error);
}

}  // namespace
}  // namespace offbook
