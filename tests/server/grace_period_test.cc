// Who is waited for after a restart, and what the next process is told.
#include "server/grace_period.h"

#include <gtest/gtest.h>

namespace rdmafs::server {
namespace {

SessionId Id(uint64_t number) { return {{number, ~number}}; }

// What a process leaves to the next.
struct Remembered {
  std::vector<LockHolder> rows;
  GracePeriod::Remember Rememberer() {
    return [this](size_t row, const LockHolder& holder) {
      if (rows.size() <= row) rows.resize(row + 1);
      rows[row] = holder;
    };
  }
  std::vector<SessionId> ids() const {
    std::vector<SessionId> found;
    for (const LockHolder& row : rows) {
      if (!row.id.none()) found.push_back(row.id);
    }
    return found;
  }
};

using Ids = std::vector<SessionId>;

TEST(GracePeriod, ThereIsNoneWhenNobodyHeldLocks) {
  EXPECT_FALSE(GracePeriod({}, nullptr).active());
  EXPECT_FALSE(GracePeriod({LockHolder()}, nullptr).active());
}

TEST(GracePeriod, SessionsAreRememberedWhileTheyHoldLocks) {
  Remembered file;
  GracePeriod grace({}, file.Rememberer());
  grace.SessionBegins(1, Id(1), {});
  grace.SessionBegins(2, Id(2), {});
  EXPECT_TRUE(file.ids().empty());
  grace.SetHolds(1, true);
  grace.SetHolds(2, true);
  EXPECT_EQ(file.ids(), (Ids{Id(1), Id(2)}));
  grace.SetHolds(1, false);
  EXPECT_EQ(file.ids(), Ids{Id(2)});
  grace.SetHolds(1, true);
  EXPECT_EQ(file.rows.size(), 2u) << "a row that is empty is used again";
  grace.SessionEnds(2);
  EXPECT_EQ(file.ids(), Ids{Id(1)});
}

TEST(GracePeriod, EndsWhenAllWhoHeldLocksHaveThemAgain) {
  Remembered file{{{Id(1), {}}, {}, {Id(2), {}}}};
  GracePeriod grace(file.rows, file.Rememberer());
  EXPECT_EQ(grace.outstanding_count(), 2u);
  grace.SessionBegins(1, Id(11), Id(1));
  grace.SetHolds(1, true);
  grace.Reclaimed(1);
  EXPECT_TRUE(grace.active());
  grace.SessionBegins(2, Id(12), Id(2));
  grace.SetHolds(2, true);
  grace.Reclaimed(2);
  EXPECT_FALSE(grace.active());
  EXPECT_EQ(file.ids(), (Ids{Id(11), Id(12)}));
}

// The answer that gave it its only lock was lost with the server: it does not know that it had one.
TEST(GracePeriod, AHolderThatTakesNothingAgainIsNotWaitedFor) {
  Remembered file{{{Id(1), {}}}};
  GracePeriod grace(file.rows, file.Rememberer());
  grace.SessionBegins(1, Id(11), Id(1));
  EXPECT_TRUE(grace.active());
  grace.Reclaimed(1);
  EXPECT_FALSE(grace.active());
  EXPECT_TRUE(file.ids().empty());
}

TEST(GracePeriod, ClientsThatHeldNothingDoNotEndIt) {
  GracePeriod grace({{Id(1), {}}}, nullptr);
  grace.SessionBegins(1, Id(11), {});
  grace.SessionBegins(2, Id(12), Id(5));
  for (int i = 0; i < 2; ++i) {
    grace.Reclaimed(1);
    grace.Reclaimed(2);
    grace.Reclaimed(77);
  }
  EXPECT_TRUE(grace.active());
}

TEST(GracePeriod, AHolderIsCountedOnce) {
  GracePeriod grace({{Id(1), {}}, {Id(2), {}}}, nullptr);
  grace.SessionBegins(1, Id(11), Id(1));
  grace.Reclaimed(1);
  grace.Reclaimed(1);
  grace.SessionBegins(3, Id(13), Id(1));
  grace.Reclaimed(3);
  EXPECT_EQ(grace.outstanding_count(), 1u);
}

// The next process dies, too, before the client has its locks again: it may know its new session or
// not.
TEST(GracePeriod, AClientIsKnownByBothItsSessionsAfterASecondRestart) {
  for (const SessionId& known : {Id(1), Id(11)}) {
    Remembered file{{{Id(1), {}}}};
    GracePeriod(file.rows, file.Rememberer()).SessionBegins(1, Id(11), Id(1));
    GracePeriod next(file.rows, file.Rememberer());
    EXPECT_EQ(next.outstanding_count(), 1u);
    next.SessionBegins(1, Id(21), known);
    next.Reclaimed(1);
    EXPECT_FALSE(next.active());
  }
}

TEST(GracePeriod, ASessionThatEndsBeforeItHasItsLocksAgainIsWaitedForStill) {
  GracePeriod grace({{Id(1), {}}}, nullptr);
  grace.SessionBegins(1, Id(11), Id(1));
  grace.SetHolds(1, true);
  grace.SetHolds(1, false);
  grace.SessionEnds(1);
  EXPECT_TRUE(grace.active());
  grace.SessionBegins(2, Id(12), Id(11));
  grace.Reclaimed(2);
  EXPECT_FALSE(grace.active());
}

TEST(GracePeriod, EndForgetsThoseWhoDidNotCome) {
  Remembered file{{{Id(1), {}}, {Id(2), {}}}};
  GracePeriod grace(file.rows, file.Rememberer());
  grace.SessionBegins(1, Id(11), Id(1));
  grace.SetHolds(1, true);
  grace.End();
  EXPECT_FALSE(grace.active());
  EXPECT_EQ(file.ids(), Ids{Id(11)});
}

TEST(GracePeriod, AServerThatStopsLeavesWhatItRemembers) {
  Remembered file{{{Id(1), {}}}};
  GracePeriod grace(file.rows, file.Rememberer());
  grace.SessionBegins(7, Id(17), {});
  grace.SetHolds(7, true);
  grace.Freeze();
  grace.End();
  grace.SessionEnds(7);
  EXPECT_EQ(file.ids(), (Ids{Id(1), Id(17)}));
}

}  // namespace
}  // namespace rdmafs::server
