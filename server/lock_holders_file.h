// LockHoldersFile: which sessions held locks when a server process ended, kept for the next one.
#pragma once

#include <string>
#include <vector>

#include "server/grace_period.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::server {

// Survives the process. It is not synced, as it may change with every transaction of a database:
// after a restart of the host it may be older.
class LockHoldersFile {
 public:
  // `path` is made when it is not there. Without one (no permission), nothing is kept.
  explicit LockHoldersFile(const std::string& path);

  // A row each, empty ones too.
  const std::vector<LockHolder>& at_start() const { return at_start_; }
  // Thread-safe when the caller's calls come one at a time; one pwrite(2).
  void Store(size_t row, const LockHolder& holder) const;

 private:
  UniqueFd fd_;
  std::vector<LockHolder> at_start_;
};

}  // namespace rdmafs::server
