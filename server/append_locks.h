// AppendLocks: one append to a file at a time, by whichever of its open files it comes.
#pragma once

#include <array>

#include "absl/hash/hash.h"
#include "absl/synchronization/mutex.h"
#include "server/store.h"

namespace rdmafs::server {

// Thread-safe. Taken by workers for one write(2), which the kernel lets in one at a time as well.
// Files may share a lock.
class AppendLocks {
 public:
  absl::Mutex& Of(const OpenFile::FileId& file) {
    return locks_[absl::HashOf(file.device, file.inode) % locks_.size()];
  }

 private:
  std::array<absl::Mutex, 64> locks_;
};

}  // namespace rdmafs::server
