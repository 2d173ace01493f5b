#include "server/worker_pool.h"

#include <algorithm>

namespace rdmafs::server {

WorkerPool::WorkerPool(int thread_count, std::function<void()> prepare_thread)
    : prepare_thread_(std::move(prepare_thread)) {
  for (int i = 0; i < thread_count; ++i) threads_.emplace_back([this] { Run(); });
}

WorkerPool::~WorkerPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    there_is_work_.SignalAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Queue(WorkItem& item) {
  absl::MutexLock lock(&mutex_);
  queue_.Push(item);
  queued_count_peak_ = std::max(queued_count_peak_, ++queued_count_);
  if (idle_count_ != 0) there_is_work_.Signal();
}

bool WorkerPool::RunQueued() {
  WorkItem* item;
  {
    absl::MutexLock lock(&mutex_);
    item = queue_.Pop();
    if (item == nullptr) return false;
    --queued_count_;
  }
  item->run(*item);
  return true;
}

void WorkerPool::Run() {
  if (prepare_thread_) prepare_thread_();
  while (true) {
    WorkItem* item;
    {
      absl::MutexLock lock(&mutex_);
      while ((item = queue_.Pop()) == nullptr) {
        if (stopping_) return;
        ++idle_count_;
        there_is_work_.Wait(&mutex_);
        --idle_count_;
      }
      --queued_count_;
      ++running_count_;
    }
    item->run(*item);  // may be gone when this returns
    absl::MutexLock lock(&mutex_);
    --running_count_;
  }
}

WorkerPool::Statistics WorkerPool::statistics() const {
  absl::MutexLock lock(&mutex_);
  return {.thread_count = threads_.size(),
          .queued_count = queued_count_,
          .queued_count_peak = queued_count_peak_,
          .busy_count = running_count_};
}

}  // namespace rdmafs::server
