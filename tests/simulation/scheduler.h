// Scheduler: a world of loops and threads in which only one thing happens at a time, in an order
// that a seed decides, and time is virtual.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <random>
#include <semaphore>
#include <vector>

#include "client/waiting.h"
#include "transport/base/event_loop.h"

namespace rdmafs::simulation {

class VirtualClock final : public Clock {
 public:
  Nanoseconds Now() const override { return now_.load(std::memory_order_relaxed); }
  void Advance(Nanoseconds by) { now_.fetch_add(by, std::memory_order_relaxed); }

 private:
  std::atomic<Nanoseconds> now_{kSecond};
};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t Below(uint64_t bound) { return engine_() % bound; }
  bool OneIn(uint64_t n) { return n != 0 && Below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

// Used by the thread that runs it, but for Await() and Now(): those are its threads'.
class Scheduler final : public Waiting {
 public:
  explicit Scheduler(uint64_t seed) : random_(seed) {}

  const VirtualClock& clock() const { return clock_; }
  Random& random() { return random_; }

  void Add(EventLoop& loop) { loops_.push_back(&loop); }
  void Remove(EventLoop& loop) { std::erase(loops_, &loop); }
  // Done in every round, besides loops and threads.
  void AddStep(std::function<void()> step) { steps_.push_back(std::move(step)); }

  // Rounds until `done`; false when the clock says `deadline` first.
  bool RunUntil(const std::function<bool()>& done, Nanoseconds deadline);

  Nanoseconds Now() const override { return clock_.Now(); }
  bool Await(absl::Mutex& mutex, const absl::Condition& condition, Nanoseconds deadline) override;
  std::thread Start(std::function<void()> body) override;
  // Lets everything else go on for a while.
  void Sleep(Nanoseconds delay);

 private:
  // A thread that has its turn until it waits.
  struct Fiber {
    std::binary_semaphore turn{0};
    absl::Mutex* mutex = nullptr;
    const absl::Condition* condition = nullptr;
    Nanoseconds deadline = 0;
    bool ended = false;
  };

  void Round();
  static bool IsReady(Fiber& fiber, Nanoseconds now);

  VirtualClock clock_;
  Random random_;
  std::vector<EventLoop*> loops_;
  std::vector<std::function<void()>> steps_;
  std::list<Fiber> fibers_;
  std::binary_semaphore back_{0};
  int idle_rounds_ = 0;
};

}  // namespace rdmafs::simulation
