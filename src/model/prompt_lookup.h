// Guesses at the tokens to come: what followed the last few tokens when they stood in the text
// before. Answers from documents copy much (arXiv 2304.04487 and Saxena's prompt lookup decoding,
// 2023).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace offbook::model {

// Not thread-safe.
class PromptLookup {
 public:
  // With the token that is known, a pass has as many rows as decode reads weights once for.
  static constexpr int kMost = 7;

  // `source`: tokens that the answer may copy, copied here; where they run past its end nothing
  // follows.
  explicit PromptLookup(std::span<const int32_t> source) : text_(source.begin(), source.end()) {}

  // A token was chosen.
  void push(int32_t token) {
    text_.push_back(token);
    ++pushed_;
  }

  // At most `room` guesses, none where the last tokens are new or guessing has cost more than it
  // gave. Valid until the next call. Cost: one look through the text, some µs for 4,096 tokens.
  std::span<const int32_t> draft(int room);

  // How many guesses of the last draft were right; once a draft.
  void report(int accepted);

 private:
  std::vector<int32_t> text_;
  std::vector<int32_t> draft_;
  int limit_ = 6;       // length of the next draft
  double balance_ = 0;  // one-row steps saved so far, less what rows of wrong guesses cost
  int pushed_ = 0;
};

}  // namespace offbook::model
