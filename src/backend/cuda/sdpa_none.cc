// What stands for sdpa_cudnn.cc when the build finds no cuDNN headers: every shape is refused.
#include "src/backend/cuda/sdpa.h"

namespace offbook::backend {

struct SdpaLibrary::Plan {};

int64_t sdpa_table_entries(const SdpaShape&) {
  return 0;
}
int64_t sdpa_bound(int64_t n, int64_t) {
  return n;
}
size_t SdpaLibrary::Hash::operator()(const SdpaShape&) const noexcept {
  return 0;
}
SdpaLibrary::SdpaLibrary(cudaStream_t stream)
    : stream_(stream), why_unavailable_("this build was made without cuDNN's headers") {}
SdpaLibrary::~SdpaLibrary() = default;
int64_t SdpaLibrary::workspace_bytes(const SdpaShape&) {
  return -1;
}
const std::string& SdpaLibrary::why_refused(const SdpaShape&) {
  return why_unavailable_;
}
std::vector<std::string> SdpaLibrary::refusals() const {
  return {};
}
void SdpaLibrary::run(const SdpaShape&, const SdpaCall&) {}
std::string SdpaLibrary::validate(const SdpaShape&, int) {
  return "this build was made without cuDNN's headers";
}

}  // namespace offbook::backend
