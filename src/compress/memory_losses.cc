#include "src/compress/memory_losses.h"

namespace offbook::compress {
namespace {

nlohmann::json one(const MemoryLosses& losses) {
  return {{"none", losses.none.mean()},
          {"raw", losses.raw.mean()},
          {"right", losses.right.mean()},
          {"other", losses.other.mean()},
          {"other_then_raw", losses.other_then_raw.mean()},
          {"gap", losses.gap()},
          {"document_share", losses.document_share()}};
}

}  // namespace

double MemoryLosses::document_share() const {
  return metrics::document_share(
      {.other = other.mean(), .right = right.mean(), .other_then_raw = other_then_raw.mean()});
}

double MemoryLosses::gap() const {
  return metrics::gap_recovered(
      {.none = none.mean(), .compressed = right.mean(), .raw = raw.mean()});
}

nlohmann::json to_json(const std::vector<MemoryFigures>& figures) {
  nlohmann::json out = nlohmann::json::object();
  for (const MemoryFigures& f : figures) {
    nlohmann::json& line = out[std::to_string(f.ratio)];
    line = {{"windows", f.windows}, {"continuation", one(f.continuation)}};
    if (f.has_recall) {
      line["recall"] = one(f.recall);
    }
  }
  return out;
}

}  // namespace offbook::compress
