// LockReleases: closed files that may have held locks, until the server has let go of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/event_loop.h"

namespace rdmafs::fuse {

// close(2) does not wait for its RELEASE, but whoever has closed a file expects its flock(2) and
// OFD locks to be free. So a lock that is refused is asked for once more behind the releases before
// it. Thread-safe.
class LockReleases {
 public:
  // A file of the node `node_id` is being released.
  void Begin(uint64_t node_id) {
    absl::MutexLock lock(&mutex_);
    ++nodes_[node_id].in_flight;
  }
  // The server has released it. Runs, on this thread, what waits for the last one of the node.
  void End(uint64_t node_id) {
    std::vector<EventLoop::Task> waiting;
    {
      absl::MutexLock lock(&mutex_);
      auto found = nodes_.find(node_id);
      ended_count_.fetch_add(1, std::memory_order_release);
      if (--found->second.in_flight != 0) return;
      waiting = std::move(found->second.waiting);
      nodes_.erase(found);
    }
    for (EventLoop::Task& task : waiting) task();
  }
  // Runs `then` when none of the node is under way: now, or later on another thread.
  void WhenNone(uint64_t node_id, EventLoop::Task then) {
    {
      absl::MutexLock lock(&mutex_);
      auto found = nodes_.find(node_id);
      if (found != nodes_.end()) {
        found->second.waiting.push_back(std::move(then));
        return;
      }
    }
    then();
  }
  // How many have ended, of whichever node.
  uint64_t ended_count() const { return ended_count_.load(std::memory_order_acquire); }

 private:
  struct Releases {
    size_t in_flight = 0;
    std::vector<EventLoop::Task> waiting;
  };
  absl::Mutex mutex_;
  absl::flat_hash_map<uint64_t, Releases> nodes_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> ended_count_{0};
};

}  // namespace rdmafs::fuse
