#include "client/library/completions.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace rdmafs::library {
namespace {

struct Call : rdmafs_call {
  explicit Call(std::vector<int64_t>& results) {
    *static_cast<rdmafs_call*>(this) = {};
    user = &results;
    done = [](rdmafs_call* call, int64_t result) {
      static_cast<std::vector<int64_t>*>(call->user)->push_back(result);
    };
  }
};

bool IsReadable(const Completions& completions) {
  pollfd poll_fd{completions.event_fd(), POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) == 1;
}

TEST(Completions, TheDescriptorIsReadableWhileThereIsSomethingToTake) {
  Completions completions;
  std::vector<int64_t> results;
  Call first(results), second(results);
  EXPECT_FALSE(IsReadable(completions));
  completions.Add(&first, 1);
  completions.Add(&second, 2);
  EXPECT_TRUE(IsReadable(completions));
  EXPECT_EQ(completions.Process(1), 1);
  EXPECT_TRUE(IsReadable(completions));
  EXPECT_EQ(completions.Process(10), 1);
  EXPECT_FALSE(IsReadable(completions));
  EXPECT_EQ(results, (std::vector<int64_t>{1, 2}));
}

TEST(Completions, AnEmptyQueueIsNoWork) {
  Completions completions;
  EXPECT_EQ(completions.Process(10), 0);
  EXPECT_EQ(completions.Process(0), 0);
}

TEST(Completions, ACallMayBeUsedAgainInsideItsOwnDone) {
  struct Again : rdmafs_call {
    Completions completions;
    int left = 5;
  } again;
  *static_cast<rdmafs_call*>(&again) = {};
  again.done = [](rdmafs_call* call, int64_t) {
    auto* self = static_cast<Again*>(call);
    if (--self->left > 0) self->completions.Add(call, 0);
  };
  again.completions.Add(&again, 0);
  EXPECT_EQ(again.completions.Process(3), 3) << "no more than was asked for";
  EXPECT_EQ(again.completions.Process(100), 2);
  EXPECT_EQ(again.completions.count(), 0u);
}

TEST(Completions, WhatManyThreadsAddIsTakenOnceEach) {
  constexpr int kThreads = 4, kEach = 2000;
  Completions completions;
  std::vector<int64_t> results;
  std::vector<Call> calls(kThreads * kEach, Call(results));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) completions.Add(&calls[t * kEach + i], t * kEach + i);
    });
  }
  while (results.size() < kThreads * kEach) completions.Process(64);
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(IsReadable(completions));
  std::sort(results.begin(), results.end());
  for (size_t i = 0; i < results.size(); ++i) ASSERT_EQ(results[i], static_cast<int64_t>(i));
}

}  // namespace
}  // namespace rdmafs::library
