// What a memory of a text is worth: losses with it, without it, and with another document's
// (METHOD.md).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/metrics/losses.h"

namespace offbook::compress {

// Losses of one kind of text, per condition: means over windows, per group, then over groups.
struct MemoryLosses {
  metrics::DomainLoss none;            // nothing in front but the sink
  metrics::DomainLoss raw;             // the text itself
  metrics::DomainLoss right;           // its memory
  metrics::DomainLoss other;           // another document's memory
  metrics::DomainLoss other_then_raw;  // another document's memory, then the text

  // Share of the drop from `other` to `other_then_raw` that `right` gives: adaptation to the kind
  // of text cancels. InvalidArgument where nothing was measured.
  double document_share() const;
  // (none − right) / (none − raw).
  double gap() const;
};

// One line of an evaluation.
struct MemoryFigures {
  int32_t ratio = 0;
  int64_t windows = 0;
  MemoryLosses continuation;
  MemoryLosses recall;  // of a span after its first tokens; nothing where it was not asked for
  bool has_recall = false;
};

// For weights files and --json: {"8": {"windows": 400, "continuation": {…}, "recall": {…}}, …}.
nlohmann::json to_json(const std::vector<MemoryFigures>& figures);

}  // namespace offbook::compress
