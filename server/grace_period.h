// GracePeriod: after a restart, the time in which clients take the locks again that they had, and
// nobody gets others.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "server/call.h"
#include "server/session.h"

namespace rdmafs::server {

// A session with locks, as the next process is told of it. `before` is the one that its client had
// until then, and asks for when it has not heard of the newer one.
struct LockHolder {
  SessionId id, before;
};

// Thread-safe. Over when every client whose session held locks when the process before this one
// ended has come back and taken again what it knows of (the answer that gave it the last one may be
// lost, so that may be nothing); or with End(), when the lease of those who did not come is over.
class GracePeriod {
 public:
  // Told, under the lock, who holds locks, for the next process: one holder in each row, or none
  // (no id). Must not block.
  using Remember = std::function<void(size_t row, const LockHolder& holder)>;
  GracePeriod(const std::vector<LockHolder>& holders, Remember remember);

  bool active() const { return active_.load(std::memory_order_acquire); }
  // How many have not come back.
  size_t outstanding_count() const;

  // A client begins a session, and had that one before.
  void SessionBegins(uint64_t session, const SessionId& id, const SessionId& before);
  void SessionEnds(uint64_t session);
  // It has its first lock, or none any more. May be called under the lock table's mutex.
  void SetHolds(uint64_t session, bool holds);
  // It has taken again the locks that its client had.
  void Reclaimed(uint64_t session);
  void End();
  // The process ends, and its sessions with it: what it remembers stays.
  void Freeze();

  // False: it is over. Else `call` goes on at `next` on its shard when it is.
  bool Wait(Call& call, Call::Step next);
  // True: `call` waits no longer, and is the caller's to answer.
  bool StopWaiting(Call& call);

 private:
  // Empty unless its session holds locks, or it is one of those before this process and has not
  // come back.
  struct Row {
    LockHolder holder;
    uint64_t session = 0;  // 0: its client has not come back
    bool holds = false, outstanding = false;
  };
  struct Known {
    LockHolder names;
    std::optional<size_t> row;
  };

  size_t FreeRow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EmptyIfDone(size_t row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Store(size_t row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Finish() ABSL_LOCKS_EXCLUDED(mutex_);

  const Remember remember_;
  mutable absl::Mutex mutex_;
  std::vector<Row> rows_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, Known> sessions_ ABSL_GUARDED_BY(mutex_);
  size_t outstanding_count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool frozen_ ABSL_GUARDED_BY(mutex_) = false;
  // As many as there are calls in flight.
  std::vector<std::pair<Call*, Call::Step>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> active_{false};
};

}  // namespace rdmafs::server
