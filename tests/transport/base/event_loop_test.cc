// EventLoop: descriptors, timers, tasks of this and other threads, pollers.
#include "transport/base/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/transport/base/manual_clock.h"

namespace rdmafs {
namespace {

struct Pipe {
  Pipe() {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    reader.reset(fds[0]);
    writer.reset(fds[1]);
  }
  void Fill() const { EXPECT_EQ(write(writer.get(), "x", 1), 1); }
  void Drain() const {
    char byte;
    EXPECT_EQ(read(reader.get(), &byte, 1), 1);
  }
  UniqueFd reader, writer;
};

class EventLoopTest : public testing::Test {
 protected:
  ManualClock clock;
  EventLoop loop{clock};
  std::string log;
};

TEST_F(EventLoopTest, AReadableDescriptorIsCalledUntilItIsRemoved) {
  Pipe pipe;
  ASSERT_TRUE(loop.Add(pipe.reader.get(), EPOLLIN,
                       [&](uint32_t events) {
                         EXPECT_EQ(events, static_cast<uint32_t>(EPOLLIN));
                         log += 'r';
                       })
                  .ok());
  loop.RunOnce(0);
  EXPECT_EQ(log, "");
  pipe.Fill();
  loop.RunOnce(0);
  loop.RunOnce(0);  // level-triggered
  EXPECT_EQ(log, "rr");
  loop.Remove(pipe.reader.get());
  loop.RunOnce(0);
  EXPECT_EQ(log, "rr");
}

TEST_F(EventLoopTest, ModifyChangesWhatIsWatched) {
  Pipe pipe;
  pipe.Fill();
  ASSERT_TRUE(loop.Add(pipe.reader.get(), 0, [&](uint32_t) { log += 'r'; }).ok());
  loop.RunOnce(0);
  EXPECT_EQ(log, "");
  ASSERT_TRUE(loop.Modify(pipe.reader.get(), EPOLLIN).ok());
  loop.RunOnce(0);
  EXPECT_EQ(log, "r");
}

TEST_F(EventLoopTest, ADescriptorIsWatchedOnce) {
  Pipe pipe;
  ASSERT_TRUE(loop.Add(pipe.reader.get(), EPOLLIN, [](uint32_t) {}).ok());
  EXPECT_EQ(loop.Add(pipe.reader.get(), EPOLLIN, [](uint32_t) {}), Errno(EEXIST));
  EXPECT_EQ(loop.Modify(pipe.writer.get(), EPOLLOUT), Errno(ENOENT));
}

TEST_F(EventLoopTest, ACallbackMayRemoveItselfAndOthersThatAreReadyToo) {
  Pipe first, second;
  for (Pipe* pipe : {&first, &second}) {
    pipe->Fill();
    ASSERT_TRUE(loop.Add(pipe->reader.get(), EPOLLIN,
                         [&](uint32_t) {
                           log += 'r';
                           loop.Remove(first.reader.get());
                           loop.Remove(second.reader.get());
                         })
                    .ok());
  }
  loop.RunOnce(0);
  loop.RunOnce(0);
  EXPECT_EQ(log, "r");
}

// The kernel's list of events was made before the number changed hands.
TEST_F(EventLoopTest, AnEventOfAClosedDescriptorDoesNotReachItsNumbersNextOwner) {
  Pipe first, second;
  UniqueFd successor;
  Pipe quiet;
  auto replace = [&](Pipe& victim) {
    const int number = victim.reader.get();
    loop.Remove(number);
    victim.reader.reset();
    successor.reset(fcntl(quiet.reader.get(), F_DUPFD_CLOEXEC, number));
    ASSERT_EQ(successor.get(), number);
    ASSERT_TRUE(loop.Add(number, EPOLLIN, [&](uint32_t) { log += 's'; }).ok());
  };
  for (Pipe* pipe : {&first, &second}) pipe->Fill();
  ASSERT_TRUE(loop.Add(first.reader.get(), EPOLLIN,
                       [&](uint32_t) {
                         log += '1';
                         replace(second);
                       })
                  .ok());
  ASSERT_TRUE(loop.Add(second.reader.get(), EPOLLIN,
                       [&](uint32_t) {
                         log += '2';
                         replace(first);
                       })
                  .ok());
  loop.RunOnce(0);
  EXPECT_EQ(log.size(), 1u) << log;
  quiet.Fill();
  loop.Remove(first.reader.valid() ? first.reader.get() : second.reader.get());
  loop.RunOnce(0);
  EXPECT_EQ(log.substr(1), "s");
}

TEST_F(EventLoopTest, TimersRunInTheOrderOfTheirTimesAndNotBefore) {
  loop.After(20, [&] { log += 'b'; });
  loop.After(10, [&] { log += 'a'; });
  loop.After(20, [&] { log += 'c'; });
  clock.now += 9;
  loop.RunOnce(0);
  EXPECT_EQ(log, "");
  clock.now += 1;
  loop.RunOnce(0);
  EXPECT_EQ(log, "a");
  clock.now += 100;
  loop.RunOnce(0);
  EXPECT_EQ(log, "abc");
}

TEST_F(EventLoopTest, ACancelledTimerDoesNotRun) {
  const auto first = loop.After(10, [&] { log += 'a'; });
  const auto second = loop.After(10, [&] { log += 'b'; });
  loop.Cancel(first);
  loop.Cancel(first);
  clock.now += 10;
  loop.RunOnce(0);
  EXPECT_EQ(log, "b");
  loop.Cancel(second);  // it ran: nothing happens
  loop.RunOnce(0);
  EXPECT_EQ(log, "b");
}

TEST_F(EventLoopTest, ATimerMayCancelAnotherOfTheSameTime) {
  EventLoop::TimerId second = 0;
  loop.After(10, [&] {
    log += 'a';
    loop.Cancel(second);
  });
  second = loop.After(10, [&] { log += 'b'; });
  clock.now += 10;
  loop.RunOnce(0);
  EXPECT_EQ(log, "a");
}

TEST_F(EventLoopTest, DeferredTasksRunAtTheEndOfTheRoundAlsoThoseThatTheyDefer) {
  Pipe pipe;
  pipe.Fill();
  ASSERT_TRUE(loop.Add(pipe.reader.get(), EPOLLIN,
                       [&](uint32_t) {
                         log += 'e';
                         pipe.Drain();
                         loop.Defer([&] {
                           log += 'd';
                           loop.Defer([&] { log += 'D'; });
                         });
                         log += 'f';
                       })
                  .ok());
  loop.RunOnce(0);
  EXPECT_EQ(log, "efdD");
}

TEST_F(EventLoopTest, PostedTasksRunInOrderAndWakeASleepingLoop) {
  std::thread poster;
  loop.Post([&] {
    log += 'a';
    poster = std::thread([&] {
      loop.Post([&] { log += 'b'; });
      loop.Post([&] {
        log += 'c';
        loop.Stop();
      });
    });
  });
  loop.Run();
  poster.join();
  EXPECT_EQ(log, "abc");
}

TEST_F(EventLoopTest, ATaskThatRunsMayBeTheLastThatTheLoopLivesToSee) {
  for (int i = 0; i < 1000; ++i) {
    auto mortal = std::make_unique<EventLoop>(clock);
    bool ran = false;
    std::thread poster([&mortal, &ran] { mortal->Post([&ran] { ran = true; }); });
    while (!ran) mortal->RunOnce(0);
    mortal.reset();
    poster.join();
  }
}

TEST_F(EventLoopTest, StopEndsTheLoopAndWhatIsPostedLaterIsDestroyedUnrun) {
  loop.Stop();
  EXPECT_FALSE(loop.RunOnce(0));
  auto alive = std::make_shared<int>(1);
  std::weak_ptr<int> watch = alive;
  loop.Post([alive = std::move(alive), this] { log += 'x'; });
  EXPECT_TRUE(watch.expired());
  EXPECT_EQ(log, "");
}

TEST_F(EventLoopTest, OnlyItsThreadIsInTheLoop) {
  EXPECT_TRUE(loop.InLoopThread());
  std::thread thread([&] { loop.Run(); });
  bool inside = false;
  loop.Post([&] {
    inside = loop.InLoopThread();
    loop.Stop();
  });
  thread.join();
  EXPECT_TRUE(inside);
}

class CountingPoller final : public CompletionPoller {
 public:
  bool Poll() override {
    ++polls;
    return std::exchange(ready, false);
  }
  bool Busy() const override { return busy; }
  bool Arm() override {
    ++arms;
    return std::exchange(arrives_at_arm, false);
  }
  int polls = 0, arms = 0;
  bool ready = false, busy = false, arrives_at_arm = false;
};

TEST_F(EventLoopTest, APollerIsArmedBeforeTheLoopSleepsAndNotAfterProgress) {
  CountingPoller poller;
  loop.AddPoller(&poller);
  poller.ready = true;
  loop.RunOnce(-1);  // progress: it must not sleep
  loop.RunOnce(-1);  // nor right after it, when it looks at descriptors
  EXPECT_EQ(poller.polls, 2);
  EXPECT_EQ(poller.arms, 0);
  poller.arrives_at_arm = true;
  loop.RunOnce(-1);  // nothing at first, but at arming: it must not sleep either
  EXPECT_EQ(poller.arms, 1);
  loop.RemovePoller(&poller);
  loop.RunOnce(0);
  EXPECT_EQ(poller.polls, 3);
}

TEST_F(EventLoopTest, WhileThereIsProgressDescriptorsAreLookedAtNowAndThen) {
  Pipe pipe;
  ASSERT_TRUE(loop.Add(pipe.reader.get(), EPOLLIN, [&](uint32_t) { log += 'r'; }).ok());
  pipe.Fill();
  CountingPoller poller;
  loop.AddPoller(&poller);
  for (int round = 0; round < 8; ++round) {
    poller.ready = true;
    loop.RunOnce(-1);
  }
  EXPECT_EQ(log, "rr");
  loop.RemovePoller(&poller);
}

// Remembers how long it was told to sleep.
class RecordingSleeper final : public EventSleeper {
 public:
  bool Sleep(Nanoseconds most) override {
    sleeps.push_back(most);
    return ready;
  }
  std::vector<Nanoseconds> sleeps;
  bool ready = false;
};

TEST_F(EventLoopTest, ASleeperTakesThePlaceOfTheWaitAndSaysWhenDescriptorsMayHaveEvents) {
  Pipe pipe;
  ASSERT_TRUE(loop.Add(pipe.reader.get(), EPOLLIN, [&](uint32_t) { log += 'r'; }).ok());
  pipe.Fill();
  RecordingSleeper sleeper;
  loop.SetSleeper(&sleeper);
  loop.RunOnce(kSecond);
  EXPECT_EQ(log, "");
  sleeper.ready = true;
  loop.RunOnce(kSecond);
  EXPECT_EQ(log, "r");
  EXPECT_EQ(sleeper.sleeps, (std::vector<Nanoseconds>{kSecond, kSecond}));
  loop.SetSleeper(nullptr);
  loop.RunOnce(0);
  EXPECT_EQ(log, "rr");
}

TEST_F(EventLoopTest, ASleeperSleepsUntilTheNextTimerAndNotAtAllAfterProgress) {
  RecordingSleeper sleeper;
  loop.SetSleeper(&sleeper);
  loop.RunOnce(-1);
  loop.After(kMillisecond, [&] { log += 't'; });
  loop.RunOnce(-1);
  clock.now += kMillisecond;
  loop.RunOnce(-1);
  EXPECT_EQ(log, "t");
  EXPECT_EQ(sleeper.sleeps, (std::vector<Nanoseconds>{-1, kMillisecond}));
  // But its own events are looked for now and then, as descriptors are.
  for (int round = 0; round < 3; ++round) {
    loop.Post([] {});
    loop.RunOnce(-1);
  }
  EXPECT_EQ(sleeper.sleeps, (std::vector<Nanoseconds>{-1, kMillisecond, 0}));
}

}  // namespace
}  // namespace rdmafs
