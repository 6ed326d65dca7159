// For tests that hold on every device: the reference, the CPU, and a GPU where there is one.
#pragma once
#include <string>
#include <vector>

#include "src/backend/compute_device.h"

namespace offbook::backend {

inline bool has_gpu() {
  static const bool found = ComputeDevice({.threads = 1}).is_gpu();
  return found;
}

// Names for DeviceOptions.
inline std::vector<std::string> all_devices() {
  std::vector<std::string> names{"reference", "cpu"};
  if (has_gpu()) {
    names.push_back("cuda");
  }
  return names;
}

// Without the reference, which takes minutes for a real model.
inline std::vector<std::string> fast_devices() {
  std::vector<std::string> names = all_devices();
  names.erase(names.begin());
  return names;
}

}  // namespace offbook::backend
