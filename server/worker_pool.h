// WorkerPool: the threads on which calls may block.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/work_item.h"

namespace rdmafs::server {

// Thread-safe. Items run in the order they came, on any of the threads. The queue is as long as
// there are calls in flight at most (limits.h), and takes no memory of its own.
class WorkerPool {
 public:
  // `prepare_thread` runs first on each thread (credentials, umask).
  WorkerPool(int thread_count, std::function<void()> prepare_thread);
  // Runs what is queued, then ends the threads.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void Queue(WorkItem& item);
  // Runs what is queued on the caller's thread; false when there is nothing. For a pool without
  // threads.
  bool RunQueued();

  struct Statistics {
    size_t thread_count;
    size_t queued_count;
    size_t queued_count_peak;
    size_t busy_count;
  };
  Statistics statistics() const;

 private:
  void Run();

  const std::function<void()> prepare_thread_;

  mutable absl::Mutex mutex_;
  absl::CondVar there_is_work_;
  ItemQueue<WorkItem> queue_ ABSL_GUARDED_BY(mutex_);
  size_t queued_count_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t queued_count_peak_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t idle_count_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t running_count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;
};

}  // namespace rdmafs::server
