// Helpers: the shards that take requests from the FUSE device only when they are called.
#pragma once

#include <atomic>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/clock.h"
#include "transport/base/event_loop.h"

namespace rdmafs::fuse {

// For each request the kernel wakes a shard that sleeps, also when another is about to look: small
// requests that one shard keeps up with then wake two, which take the processors from each other.
// Where those are few, one shard takes the requests, and the others rest until it has large
// transfers. Any thread.
class Helpers {
 public:
  // How long those who were called stay, from the last call on.
  static constexpr Nanoseconds kStay = 100 * kMillisecond;

  // Posts `begin` to `loop` once, when they are wanted: at once if they are. `loop` must outlive
  // the last call.
  void Rest(EventLoop& loop, Nanoseconds now, EventLoop::Task begin) {
    {
      absl::MutexLock lock(&mutex_);
      resting_.push_back({&loop, std::move(begin)});
      any_rest_ = true;
    }
    // A call that has not seen who rests was one that is seen here.
    if (wanted(now)) Wake();
  }

  // They are wanted from now on, for kStay.
  void Call(Nanoseconds now) {
    until_ = now + kStay;
    if (any_rest_) Wake();
  }

  bool wanted(Nanoseconds now) const { return now < until_; }

 private:
  struct Resting {
    EventLoop* loop;
    EventLoop::Task begin;
  };

  void Wake() {
    std::vector<Resting> woken;
    {
      absl::MutexLock lock(&mutex_);
      woken.swap(resting_);
      any_rest_ = false;
    }
    for (Resting& helper : woken) helper.loop->Post(std::move(helper.begin));
  }

  std::atomic<Nanoseconds> until_{0};
  std::atomic<bool> any_rest_{false};
  absl::Mutex mutex_;
  std::vector<Resting> resting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::fuse
