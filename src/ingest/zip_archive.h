// The members of a zip file that a reader asks for, unpacked under limits (zip bombs).
#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "src/ingest/limits.h"

namespace offbook::ingest {

// Members by name ("word/document.xml"). Immutable.
class ZipArchive {
 public:
  // Unpacks the members that `wanted` names; the first of several with one name counts.
  // Corrupt: broken archive. Unsupported: encrypted members, or past the limits of entries,
  // unpacked bytes or ratio. Nothing is written to disk. Memory: the unpacked members.
  ZipArchive(std::span<const std::byte> bytes, const Limits& limits,
             const std::function<bool(std::string_view name)>& wanted);

  // nullptr where there is no such member (or it was not wanted).
  const std::string* find(std::string_view name) const;
  // Corrupt, naming the member, where there is none.
  const std::string& get(std::string_view name) const;

  const std::map<std::string, std::string, std::less<>>& members() const noexcept {
    return members_;
  }

 private:
  std::map<std::string, std::string, std::less<>> members_;
};

}  // namespace offbook::ingest
