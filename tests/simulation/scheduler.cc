#include "tests/simulation/scheduler.h"

#include <algorithm>

namespace rdmafs::simulation {
namespace {

thread_local void* this_fiber = nullptr;

constexpr Nanoseconds kStep = 20 * kMicrosecond;
// A call crosses the world in fewer rounds than these; when nobody's turn has come for so long,
// everybody waits for time to pass.
constexpr int kPatientRounds = 24;
constexpr Nanoseconds kLongestStep = 100 * kMillisecond;

}  // namespace

bool Scheduler::RunUntil(const std::function<bool()>& done, Nanoseconds deadline) {
  while (!done()) {
    if (clock_.Now() >= deadline) return false;
    Round();
  }
  return true;
}

void Scheduler::Round() {
  const size_t count = loops_.size();
  const size_t first = count == 0 ? 0 : random_.Below(count);
  const std::vector<EventLoop*> loops = loops_;
  for (size_t i = 0; i < count; ++i) {
    if (!random_.OneIn(4)) loops[(first + i) % count]->RunOnce(0);
  }
  for (auto& step : steps_) step();
  bool any = false;
  for (auto fiber = fibers_.begin(); fiber != fibers_.end();) {
    if (!IsReady(*fiber, clock_.Now()) || random_.OneIn(4)) {
      ++fiber;
      continue;
    }
    any = true;
    fiber->turn.release();
    back_.acquire();
    fiber = fiber->ended ? fibers_.erase(fiber) : std::next(fiber);
  }
  idle_rounds_ = any ? 0 : idle_rounds_ + 1;
  const int doublings = std::clamp((idle_rounds_ - kPatientRounds) / 2, 0, 16);
  clock_.Advance(std::min<Nanoseconds>(kStep << doublings, kLongestStep));
}

bool Scheduler::IsReady(Fiber& fiber, Nanoseconds now) {
  if (fiber.mutex == nullptr || now >= fiber.deadline) return true;
  absl::MutexLock lock(fiber.mutex);
  return fiber.condition->Eval();
}

bool Scheduler::Await(absl::Mutex& mutex, const absl::Condition& condition, Nanoseconds deadline) {
  auto& fiber = *static_cast<Fiber*>(this_fiber);
  while (!condition.Eval()) {
    if (Now() >= deadline) return false;
    fiber.condition = &condition;
    fiber.deadline = deadline;
    fiber.mutex = &mutex;
    mutex.Unlock();
    back_.release();
    fiber.turn.acquire();
    mutex.Lock();
  }
  return true;
}

std::thread Scheduler::Start(std::function<void()> body) {
  Fiber& fiber = fibers_.emplace_back();
  return std::thread([this, &fiber, body = std::move(body)] {
    this_fiber = &fiber;
    fiber.turn.acquire();
    body();
    fiber.ended = true;
    back_.release();
  });
}

void Scheduler::Sleep(Nanoseconds delay) {
  absl::Mutex mutex;
  const bool never = false;
  absl::MutexLock lock(&mutex);
  Await(mutex, absl::Condition(&never), Now() + delay);
}

}  // namespace rdmafs::simulation
