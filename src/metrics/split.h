// The common split of every question set: one function, used wherever documents are kept apart.
#pragma once
#include <cstddef>
#include <string_view>

namespace offbook::metrics {

enum class SplitPart { train, tune, test };
std::string_view to_string(SplitPart part) noexcept;

// Sets below this many documents have no parts: they are split into folds, or used for testing
// only.
inline constexpr size_t kSplitDocuments = 60;
inline constexpr int kSplitFolds = 5;

// h in [0, 100): the first 8 hexadecimal digits of SHA-256 of the document's id (UTF-8) as a
// number, modulo 100. Fixed for good: every published number depends on it.
int split_hash(std::string_view document_id);

// h < 70 train, 70–79 tune, 80–99 test. For sets of kSplitDocuments or more.
SplitPart split_part(std::string_view document_id);

// h modulo 5. For smaller sets: what is tested on fold f was made without documents of fold f, and
// the results of the five are pooled.
int split_fold(std::string_view document_id);

}  // namespace offbook::metrics
