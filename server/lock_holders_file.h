// LockHoldersFile: how many clients held locks when a server process ended, kept for the next one.
#pragma once

#include <cstdint>
#include <string>

#include "transport/base/unique_fd.h"

namespace rdmafs::server {

// Survives the process. It is not synced, as the number may change with every transaction of a
// database: after a restart of the host it may be an older one.
class LockHoldersFile {
 public:
  // `path` is made when it is not there. Without one (no permission), nothing is kept.
  explicit LockHoldersFile(const std::string& path);

  uint64_t at_start() const { return at_start_; }
  // Thread-safe when the caller's calls come one at a time; one pwrite(2).
  void Store(uint64_t holders) const;

 private:
  UniqueFd fd_;
  uint64_t at_start_ = 0;
};

}  // namespace rdmafs::server
