// EventLoop: one shard's event set: descriptors, timers, work from other threads, completion
// polling.
#pragma once

#include <atomic>

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/clock.h"
#include "transport/base/errno.h"
#include "transport/base/unique_fd.h"
#include "transport/base/unique_function.h"

namespace rdmafs {

// Something that can be asked for progress without a system call (a CQ), between epoll rounds.
class CompletionPoller {
 public:
  virtual ~CompletionPoller() = default;
  // Handles what is ready; true when there was anything. Shard thread only.
  virtual bool Poll() = 0;
  // Whether polling is worth CPU time now (calls are in flight).
  virtual bool Busy() const = 0;
  // Called before the loop sleeps: requests a wake-up through the poller's descriptor, then looks
  // once more. True when something arrived meanwhile, so that the loop must not sleep.
  virtual bool Arm() = 0;
};

// Waits in the place of epoll_wait(2): a channel whose own events come by another way (an
// io_uring), so that the loop has one place to sleep in.
class EventSleeper {
 public:
  virtual ~EventSleeper() = default;
  // Sleeps until something has come, `most` at most (0: not at all; negative: as long as it takes),
  // and handles what came its own way. True when the loop's descriptors may have events. Shard
  // thread only.
  virtual bool Sleep(Nanoseconds most) = 0;
};

// Owned by one shard thread, which calls Run(). Only Post() and Stop() may be called from others.
class EventLoop {
 public:
  using Callback = UniqueFunction<void(uint32_t epoll_events)>;
  using Task = UniqueFunction<void(), 96>;
  using TimerId = uint64_t;

  struct Options {
    // How long to poll completions before sleeping, while any poller is busy. 0 where cores are
    // few.
    Nanoseconds busy_poll = 0;
  };

  explicit EventLoop(const Clock& clock) : EventLoop(clock, Options{}) {}
  EventLoop(const Clock& clock, Options options);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  const Clock& clock() const { return clock_; }

  // Watches `fd` (not owned) for `events` (epoll_ctl(2), level-triggered unless EPOLLET is given).
  // The callback may remove any descriptor, its own included.
  Errno Add(int fd, uint32_t events, Callback callback);
  Errno Modify(int fd, uint32_t events);
  void Remove(int fd);

  // Runs `task` on the loop's thread at or after `when`. Cancel() of a timer that ran is a no-op.
  TimerId At(Nanoseconds when, Task task);
  TimerId After(Nanoseconds delay, Task task) { return At(clock_.Now() + delay, std::move(task)); }
  void Cancel(TimerId id);

  // Runs `task` on the loop's thread, soon. Any thread. Tasks posted after Stop() are destroyed
  // unrun.
  void Post(Task task);
  // Runs `task` at the end of the current round, before the loop sleeps: the place to send what a
  // round gathered in one system call. Loop thread only (or before Run).
  void Defer(Task task) { deferred_.push_back(std::move(task)); }

  // What the loop sleeps in from now on; nullptr: epoll_wait(2). Not owned. It watches
  // descriptor(), which is readable when a descriptor that was added has events. Loop thread only.
  void SetSleeper(EventSleeper* sleeper) { sleeper_ = sleeper; }
  int descriptor() const { return epoll_.get(); }

  void AddPoller(CompletionPoller* poller);
  void RemovePoller(CompletionPoller* poller);

  // Runs until Stop(). RunOnce() does one round and returns false when stopped; it sleeps at most
  // `max_wait` (0: not at all; negative: as long as it takes).
  void Run();
  bool RunOnce(Nanoseconds max_wait);
  // Any thread, also from a signal-safe context through Wake()'s eventfd: makes Run() return.
  void Stop();

  // True on the thread that runs the loop, and on any thread while none does.
  bool InLoopThread() const;

 private:
  struct Watch {
    Callback callback;
    uint64_t generation;
  };

  void Wake();
  bool RunPosted();
  bool RunTimers();
  void RunDeferred();
  bool PollCompletions();
  // Until the next timer, `max_wait` at most; negative: no end.
  Nanoseconds WaitTime(Nanoseconds max_wait) const;
  void WaitAndDispatch(Nanoseconds wait);

  const Clock& clock_;
  const Options options_;
  UniqueFd epoll_;
  UniqueFd wake_;

  // Loop thread only.
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  uint64_t next_generation_ = 1;
  std::multimap<Nanoseconds, std::pair<TimerId, Task>> timers_;
  std::unordered_map<TimerId, Nanoseconds> timer_times_;
  TimerId next_timer_ = 1;
  std::vector<Task> deferred_;
  std::vector<CompletionPoller*> pollers_;
  EventSleeper* sleeper_ = nullptr;
  int rounds_without_look_ = 0;  // at descriptors, with progress each

  absl::Mutex mutex_;
  std::vector<Task> posted_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<bool> stopped_{false};
  std::atomic<uint64_t> thread_{0};
};

}  // namespace rdmafs
