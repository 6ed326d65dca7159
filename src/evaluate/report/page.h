// What does not change from report to report: style sheet and the script that filters predictions.
#pragma once
#include <string_view>

namespace offbook::evaluate {

extern const std::string_view kReportStyle;
// Reads the JSON in #predictions and shows it; fetches nothing.
extern const std::string_view kReportScript;

}  // namespace offbook::evaluate
