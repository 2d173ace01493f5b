// LockWaits: the locks that callers wait for, so that an interrupt finds them from any shard.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "client/file_system.h"

namespace rdmafs::fuse {

// Thread-safe. An interrupt may come, on another shard, before the wait that it is for is known
// here; and most are for other requests. Those without a wait are remembered, the last kEarlyCount
// of them.
class LockWaits {
 public:
  static constexpr size_t kEarlyCount = 256;

  struct Wait {
    size_t shard;
    CancelToken token;
  };

  // The request `unique` waits. False when it was interrupted already: cancel it at once.
  [[nodiscard]] bool Add(uint64_t unique, Wait wait) {
    absl::MutexLock lock(&mutex_);
    waits_[unique] = wait;
    for (uint64_t& early : early_) {
      if (early == unique) {
        early = 0;
        return false;
      }
    }
    return true;
  }
  void Remove(uint64_t unique) {
    absl::MutexLock lock(&mutex_);
    waits_.erase(unique);
  }
  // The requests that were interrupted and are no waits for locks, as far as is remembered; forgets
  // them.
  std::vector<uint64_t> TakeInterrupted() {
    absl::MutexLock lock(&mutex_);
    std::vector<uint64_t> uniques;
    for (uint64_t& early : early_) {
      if (early != 0) uniques.push_back(std::exchange(early, 0));
    }
    return uniques;
  }
  // Where to cancel the request; nullopt when it does not wait (yet).
  std::optional<Wait> Interrupt(uint64_t unique) {
    absl::MutexLock lock(&mutex_);
    auto found = waits_.find(unique);
    if (found != waits_.end()) return found->second;
    if (absl::c_linear_search(early_, unique)) return std::nullopt;
    early_[next_early_++ % kEarlyCount] = unique;
    return std::nullopt;
  }

 private:
  absl::Mutex mutex_;
  absl::flat_hash_map<uint64_t, Wait> waits_ ABSL_GUARDED_BY(mutex_);
  std::array<uint64_t, kEarlyCount> early_ ABSL_GUARDED_BY(mutex_){};
  size_t next_early_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rdmafs::fuse
