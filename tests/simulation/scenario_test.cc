// Stories with the two ends, in virtual time: leases, farewells, restarts.
#include <fcntl.h>
#include <gtest/gtest.h>

#include "tests/simulation/world.h"

namespace rdmafs::simulation {
namespace {

class ScenarioTest : public testing::Test {
 protected:
  void SetUp() override {
    host_.disk().Put("f", "");
    host_.Start();
  }

  // Runs `story` as the applications' thread, and waits for its end.
  void Tell(std::function<void()> story) {
    bool ended = false;
    std::thread thread = scheduler_.Start([&] {
      ASSERT_TRUE(first_.Connect().ok());
      ASSERT_TRUE(second_.Connect().ok());
      story();
      first_.Shutdown();
      second_.Shutdown();
      ended = true;
    });
    ASSERT_TRUE(scheduler_.RunUntil([&] { return ended; }, 3600 * kSecond));
    thread.join();
  }

  OpenId Open(SimulatedClient& mount) {
    auto found = mount.Do<Entry>([&](FileSystem& fs, Reply<Entry> reply) {
      fs.Lookup({}, mount.root(), "f", std::move(reply));
    });
    EXPECT_TRUE(found.ok());
    OpenId id = 0;
    EXPECT_TRUE(mount
                    .Do<Attributes>([&](FileSystem& fs, Reply<Attributes> reply) {
                      id = fs.NewOpenId();
                      fs.Open({}, found->handle, id, O_RDWR, 0, std::move(reply));
                    })
                    .ok());
    return id;
  }
  Errno Lock(SimulatedClient& mount, OpenId id, bool wait) {
    const LockRange range{1, 0, INT64_MAX, wire::LockType::kWrite, 1};
    return mount
        .Do<Unit>([&](FileSystem& fs, Reply<Unit> reply) {
          fs.SetLock(id, range, wait ? uint32_t{wire::kLockWait} : 0, std::move(reply));
        })
        .error();
  }
  void Unplug(SimulatedClient& mount) {
    mount.network().set_unplugged(true);
    for (size_t i = 0; i < mount.network().count(); ++i) mount.network().Cut(i);
  }

  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
  Scheduler scheduler_{1};
  std::shared_ptr<LoopbackHub> hub_ = std::make_shared<LoopbackHub>(1);
  SimulatedServer host_{scheduler_, *memory_, hub_, {}};
  SimulatedClient first_{scheduler_, *memory_, hub_, 0};
  SimulatedClient second_{scheduler_, *memory_, hub_, 0};
};

TEST_F(ScenarioTest, ALockIsKeptForAClientThatIsAwayForLessThanTheLease) {
  Tell([&] {
    const OpenId mine = Open(first_), others = Open(second_);
    ASSERT_EQ(Lock(first_, mine, false), kOk);
    Unplug(first_);
    scheduler_.Sleep(kLease * 3 / 4);
    EXPECT_EQ(Lock(second_, others, false), Errno(EAGAIN));
    first_.network().set_unplugged(false);
    scheduler_.Sleep(kLease);
    EXPECT_EQ(Lock(second_, others, false), Errno(EAGAIN));
  });
}

TEST_F(ScenarioTest, ALockOfAClientThatStaysAwayIsFreeWhenTheLeaseIsOver) {
  Tell([&] {
    const OpenId mine = Open(first_), others = Open(second_);
    ASSERT_EQ(Lock(first_, mine, false), kOk);
    Unplug(first_);
    const Nanoseconds begin = scheduler_.Now();
    EXPECT_EQ(Lock(second_, others, true), kOk);
    EXPECT_GE(scheduler_.Now() - begin, kLease);
    EXPECT_LE(scheduler_.Now() - begin, kLease + 2 * kSecond);
    EXPECT_EQ(host_.session_count(), 1u);
  });
}

TEST_F(ScenarioTest, AClientThatUnmountsFreesItsLockAtOnce) {
  Tell([&] {
    const OpenId mine = Open(first_), others = Open(second_);
    ASSERT_EQ(Lock(first_, mine, false), kOk);
    first_.Shutdown();
    const Nanoseconds begin = scheduler_.Now();
    EXPECT_EQ(Lock(second_, others, true), kOk);
    EXPECT_LE(scheduler_.Now() - begin, kSecond);
  });
}

TEST_F(ScenarioTest, AClientThatComesBackAfterItsLeaseOpensItsFilesAgain) {
  Tell([&] {
    const OpenId mine = Open(first_);
    Unplug(first_);
    scheduler_.Sleep(kLease * 2);
    first_.network().set_unplugged(false);
    auto synced = first_.Do<Unit>(
        [&](FileSystem& fs, Reply<Unit> reply) { fs.Fsync(mine, false, std::move(reply)); });
    EXPECT_TRUE(synced.ok());
  });
}

TEST_F(ScenarioTest, AfterARestartOfTheServerFilesAreOpenAndLocksAreHeldAgain) {
  Tell([&] {
    const OpenId mine = Open(first_), others = Open(second_);
    ASSERT_EQ(Lock(first_, mine, false), kOk);
    host_.Kill();
    scheduler_.Sleep(3 * kSecond);
    host_.Start();
    auto synced = first_.Do<Unit>(
        [&](FileSystem& fs, Reply<Unit> reply) { fs.Fsync(mine, false, std::move(reply)); });
    EXPECT_TRUE(synced.ok());
    EXPECT_EQ(Lock(second_, others, false), Errno(EAGAIN));
  });
}

TEST_F(ScenarioTest, AfterARestartNobodyGetsALockBeforeThoseWhoHadOneHaveItAgain) {
  Tell([&] {
    const OpenId mine = Open(first_), others = Open(second_);
    ASSERT_EQ(Lock(first_, mine, false), kOk);
    Unplug(first_);
    host_.Kill();
    host_.Start();
    scheduler_.Sleep(2 * kSecond);  // the second one is back
    bool first_is_back = false;
    std::thread plugger = scheduler_.Start([&] {
      scheduler_.Sleep(5 * kSecond);
      first_.network().set_unplugged(false);
      first_is_back = true;
    });
    EXPECT_EQ(Lock(second_, others, false), Errno(EAGAIN));
    EXPECT_TRUE(first_is_back);
    plugger.join();
  });
}

TEST_F(ScenarioTest, TheGracePeriodEndsWithTheLeaseOfThoseWhoDoNotComeBack) {
  Tell([&] {
    const OpenId mine = Open(first_), others = Open(second_);
    ASSERT_EQ(Lock(first_, mine, false), kOk);
    Unplug(first_);
    host_.Kill();
    host_.Start();
    const Nanoseconds begin = scheduler_.Now();
    EXPECT_EQ(Lock(second_, others, false), kOk);
    EXPECT_GE(scheduler_.Now() - begin, kLease);
    EXPECT_LE(scheduler_.Now() - begin, kLease + 2 * kSecond);
  });
}

// Otherwise it would begin with nobody there to end it: in the way of others, and of the server's
// end.
TEST_F(ScenarioTest, AWaitForALockEndsWithItsConnectionInTheGracePeriodToo) {
  Tell([&] {
    const OpenId mine = Open(first_), others = Open(second_);
    ASSERT_EQ(Lock(first_, mine, false), kOk);
    Unplug(first_);
    host_.Kill();
    host_.Start();
    bool over = false;
    std::thread trouble = scheduler_.Start([&] {
      scheduler_.Sleep(3 * kSecond);  // the second one is back, and its call waits
      Unplug(second_);
      first_.network().set_unplugged(false);
      EXPECT_TRUE(first_
                      .Do<Unit>([&](FileSystem& fs, Reply<Unit> reply) {
                        fs.Fsync(mine, false, std::move(reply));
                      })
                      .ok());
      scheduler_.Sleep(kSecond);  // it has its lock again: the grace period is over
      Unplug(first_);             // whose session keeps the lock
      scheduler_.Sleep(kSecond);
      host_.Kill();
      host_.Start();
      second_.network().set_unplugged(false);
      first_.network().set_unplugged(false);
      scheduler_.Sleep(10 * kSecond);
      first_.Shutdown();
      over = true;
    });
    EXPECT_EQ(Lock(second_, others, true), kOk);
    while (!over) scheduler_.Sleep(kSecond);
    trouble.join();
  });
}

TEST_F(ScenarioTest, TheFirstOperationCompletesWithinASecondOfTheRestart) {
  Tell([&] {
    const OpenId mine = Open(first_);
    for (int away_s : {1, 7, 30, 100}) {
      host_.Kill();
      scheduler_.Sleep(away_s * kSecond);
      host_.Start();
      const Nanoseconds begin = scheduler_.Now();
      auto synced = first_.Do<Unit>(
          [&](FileSystem& fs, Reply<Unit> reply) { fs.Fsync(mine, false, std::move(reply)); });
      EXPECT_TRUE(synced.ok());
      EXPECT_LE(scheduler_.Now() - begin, kSecond) << away_s;
    }
  });
}

}  // namespace
}  // namespace rdmafs::simulation
