#include "fuse/page_drops.h"

#include <pthread.h>

#include <utility>

namespace rdmafs::fuse {

PageDrops::~PageDrops() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void PageDrops::Drop(uint64_t node_id, EventLoop& loop, EventLoop::Task then) {
  absl::MutexLock lock(&mutex_);
  wanted_.push_back({node_id, &loop, std::move(then)});
  if (thread_.joinable()) return;
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "page-drops");
}

void PageDrops::Run() {
  while (true) {
    Wanted wanted;
    {
      absl::MutexLock lock(&mutex_);
      auto awake = [this]()
                       ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return ending_ || !wanted_.empty(); };
      mutex_.Await(absl::Condition(&awake));
      if (ending_) return;
      wanted = std::move(wanted_.front());
      wanted_.pop_front();
    }
    drop_(wanted.node_id);
    wanted.loop->Post(std::move(wanted.then));
  }
}

}  // namespace rdmafs::fuse
