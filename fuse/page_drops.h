// PageDrops: makes the kernel drop the pages that it has of a file, on a thread of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/event_loop.h"

namespace rdmafs::fuse {

// The kernel waits until the reads and writes of those pages that are under way have been answered
// (fs/fuse/inode.c: fuse_reverse_inval_inode), so no shard may be the one to tell it. Thread-safe.
class PageDrops {
 public:
  // drop: has the kernel drop the pages of the node; called on this object's thread, which begins
  // with the first Drop().
  explicit PageDrops(std::function<void(uint64_t node_id)> drop) : drop_(std::move(drop)) {}
  // Waits for what is under way, and posts nothing more.
  ~PageDrops();

  // Runs `then` on `loop`, which outlives this object, when the pages are gone.
  void Drop(uint64_t node_id, EventLoop& loop, EventLoop::Task then);

 private:
  struct Wanted {
    uint64_t node_id = 0;
    EventLoop* loop = nullptr;
    EventLoop::Task then;
  };
  void Run();

  const std::function<void(uint64_t node_id)> drop_;
  absl::Mutex mutex_;
  std::deque<Wanted> wanted_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace rdmafs::fuse
