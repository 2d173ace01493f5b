// absl's mutexes, used as the code uses them: under ThreadSanitizer no race may be reported.
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace rdmafs {
namespace {

struct Outcome {
  absl::Mutex mutex;
  int count ABSL_GUARDED_BY(mutex) = 0;
};

TEST(TsanMutex, AConditionIsAskedUnderTheLockWhoeverAsks) {
  // The waiter frees what its condition reads. Without an order between the two, the thread that
  // unlocked last and asked the condition meanwhile would seem to read freed memory.
  constexpr int kRounds = 200, kSteps = 3;
  for (int round = 0; round < kRounds; ++round) {
    auto outcome = std::make_unique<Outcome>();
    std::thread other;
    {
      auto done = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return outcome->count == kSteps; };
      absl::MutexLock lock(&outcome->mutex);
      // It gets in while this one waits.
      other = std::thread([raw = outcome.get()] {
        for (int step = 0; step < kSteps; ++step) {
          absl::MutexLock inner(&raw->mutex);
          ++raw->count;
        }
      });
      EXPECT_TRUE(outcome->mutex.AwaitWithTimeout(absl::Condition(&done), absl::Seconds(20)));
    }
    outcome.reset();  // the other one is out of the lock, and may not have ended yet
    other.join();
  }
}

}  // namespace
}  // namespace rdmafs
