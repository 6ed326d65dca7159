// The JSON in front of a safetensors file, as a table.
#pragma once
#include <map>
#include <span>
#include <string>
#include <vector>

#include "src/model/import/safetensors.h"

namespace offbook::model::internal {

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::vector<SafetensorsInfo> tensors;  // in file order; offsets relative to the data
};

// Reads the header's text. Errors: Corrupt with file, tensor, field and offset. Checks each entry
// on its own: types, rank, and size = shape × element size; not where the tensors lie.
SafetensorsHeader read_safetensors_header(std::span<const std::byte> text, const std::string& file);

}  // namespace offbook::model::internal
