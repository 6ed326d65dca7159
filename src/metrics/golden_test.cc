#include <fstream>
#include <sstream>

#include "src/base/error.h"
#include "src/metrics/reference_check.h"

namespace offbook::metrics {
namespace {

constexpr char kRows[] = "tests/golden/metrics/rows.jsonl";

TEST(MetricsGolden, EveryScoreEqualsItsReferencePackage) {
  std::ifstream rows(kRows);
  ASSERT_TRUE(rows) << kRows;
  ReferenceCheck check;
  check.read(rows, kRows);
  EXPECT_GT(check.pairs(), 100);
  for (const auto& [metric, difference] : check.differences()) {
    EXPECT_LE(difference.largest, 1e-6) << metric << ": " << difference.worst;
  }
}

TEST(MetricsGolden, ABrokenScorerIsNoticed) {
  std::ifstream rows(kRows);
  ReferenceCheck check(ReferenceCheck::Product::broken);
  check.read(rows, kRows);
  EXPECT_GT(check.differences().at("rouge1_stem_f").largest, 1e-3);
  EXPECT_GT(check.differences().at("infinitebench longdialogue_qa_eng").largest, 0.5);
}

TEST(MetricsGolden, ABadRowIsNamed) {
  std::istringstream rows("{\"kind\":\"names\",\"names\":[]}\nno json\n");
  ReferenceCheck check;
  try {
    check.read(rows, "rows");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("rows:2"));
  }
}

}  // namespace
}  // namespace offbook::metrics
