// GracePeriod: after a restart, the time in which clients take the locks again that they had, and
// nobody gets others.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/call.h"

namespace rdmafs::server {

// Thread-safe. Over when as many sessions have their locks again as held any when the process
// before this one ended; or with End(), when the lease of those who did not come is over.
class GracePeriod {
 public:
  // Told, under the lock, how many holders the next process is to wait for. Must not block.
  using Remember = std::function<void(uint64_t holders)>;
  GracePeriod(uint64_t holders, Remember remember)
      : remember_(std::move(remember)), outstanding_(holders), active_(holders != 0) {}

  bool active() const { return active_.load(std::memory_order_acquire); }
  // A session has its first lock (1), or none any more (-1). May be called under the lock table's
  // mutex.
  void CountHolder(int change);
  // A session that has come back has its locks again.
  void Reclaimed();
  void End();
  // The process ends, and its sessions with it: what it remembers stays.
  void Freeze();

  // False: it is over. Else `call` goes on at `next` on its shard when it is.
  bool Wait(Call& call, Call::Step next);
  // True: `call` waits no longer, and is the caller's to answer.
  bool StopWaiting(Call& call);

 private:
  void Store() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Finish() ABSL_LOCKS_EXCLUDED(mutex_);

  const Remember remember_;
  absl::Mutex mutex_;
  uint64_t holding_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t outstanding_ ABSL_GUARDED_BY(mutex_);
  bool frozen_ ABSL_GUARDED_BY(mutex_) = false;
  // As many as there are calls in flight.
  std::vector<std::pair<Call*, Call::Step>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> active_;
};

}  // namespace rdmafs::server
