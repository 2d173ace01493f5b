// Waiting: how the thread that sets a session up waits: for real, or in a simulation's time.
#pragma once

#include <cstdint>
#include <functional>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "transport/base/clock.h"

namespace rdmafs {

// Thread-safe.
class Waiting {
 public:
  static constexpr Nanoseconds kForEver = INT64_MAX;

  virtual ~Waiting() = default;
  virtual Nanoseconds Now() const = 0;
  // Blocks until `condition` holds or Now() is `deadline`; whether it holds. `mutex`, which guards
  // the condition, is held before and afterwards.
  virtual bool Await(absl::Mutex& mutex, const absl::Condition& condition, Nanoseconds deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) = 0;
  // Runs `body`, which may Await(), on a thread of its own.
  virtual std::thread Start(std::function<void()> body) = 0;
};

// By the system's means.
class ThreadWaiting final : public Waiting {
 public:
  Nanoseconds Now() const override { return clock_.Now(); }
  bool Await(absl::Mutex& mutex, const absl::Condition& condition, Nanoseconds deadline) override {
    if (deadline == kForEver) {
      mutex.Await(condition);
      return true;
    }
    return mutex.AwaitWithTimeout(condition, absl::Nanoseconds(deadline - Now()));
  }
  std::thread Start(std::function<void()> body) override { return std::thread(std::move(body)); }

 private:
  const MonotonicClock clock_{};
};

}  // namespace rdmafs
