// SQLite on a MemoryFileSystem, so that power cuts and full disks reach the database too.
#pragma once
#include <memory>
#include <string>

#include "src/base/file_system_memory.h"

namespace offbook::store {

// Registered while it lives, under a name of its own. Names of temporary files stay in memory
// (PRAGMA temp_store). No shared memory: a database is opened exclusively (DatabaseOptions::vfs).
class MemoryVfs {
 public:
  explicit MemoryVfs(MemoryFileSystem& fs);
  ~MemoryVfs();
  MemoryVfs(const MemoryVfs&) = delete;
  MemoryVfs& operator=(const MemoryVfs&) = delete;
  const std::string& name() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace offbook::store
