// LockTable: fcntl(2) and flock(2) semantics across sessions; compared with a byte array at random.
#include "server/lock_table.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <deque>
#include <optional>
#include <random>
#include <thread>
#include <vector>

namespace rdmafs {
namespace {

using wire::LockRange;
using wire::LockType;
using Owner = LockTable::Owner;

constexpr OpenFile::FileId kFile{1, 10}, kOther{1, 11};
constexpr uint64_t kEnd = ~uint64_t{0} >> 1;
constexpr Owner kAnna{1, 100}, kBen{2, 100}, kCara{2, 200};

LockRange Lock(LockType type, uint64_t start = 0, uint64_t end = kEnd) {
  return {0, start, end, type, 77};
}
LockRange Read(uint64_t start = 0, uint64_t end = kEnd) {
  return Lock(LockType::kRead, start, end);
}
LockRange Write(uint64_t start = 0, uint64_t end = kEnd) {
  return Lock(LockType::kWrite, start, end);
}
LockRange Unlock(uint64_t start = 0, uint64_t end = kEnd) {
  return Lock(LockType::kUnlock, start, end);
}

class LockTableTest : public testing::Test {
 protected:
  // What a waiting call was answered; nothing yet.
  struct Answer {
    std::optional<int> error;
    LockTable::WaitId id = 0;
    bool waiting() const { return !error; }
  };

  Answer& Ask(const Owner& owner, const LockRange& range, bool wait, bool flock = false,
              OpenFile::FileId file = kFile, wire::OpenId through = 1) {
    Answer& answer = answers_.emplace_back();
    answer.id =
        table_.Set(file, owner, {owner.session, through}, range, flock, wait,
                   [&answer](Result<Unit> result) { answer.error = result.error().value(); });
    return answer;
  }
  int Try(const Owner& owner, const LockRange& range, bool flock = false,
          OpenFile::FileId file = kFile, wire::OpenId through = 1) {
    return Ask(owner, range, false, flock, file, through).error.value();
  }
  Answer& Wait(const Owner& owner, const LockRange& range, OpenFile::FileId file = kFile) {
    return Ask(owner, range, true, false, file);
  }

  std::deque<Answer> answers_;  // outlives the table, which answers what still waits
  LockTable table_;
};

TEST_F(LockTableTest, ReadersShareAndAWriterIsAlone) {
  EXPECT_EQ(Try(kAnna, Read()), 0);
  EXPECT_EQ(Try(kBen, Read()), 0);
  EXPECT_EQ(Try(kCara, Write()), EAGAIN);
  EXPECT_EQ(Try(kAnna, Unlock()), 0);
  EXPECT_EQ(Try(kBen, Write()), 0) << "the only reader may become the writer";
  EXPECT_EQ(Try(kAnna, Read()), EAGAIN);
}

TEST_F(LockTableTest, RangesThatDoNotOverlapDoNotConflict) {
  EXPECT_EQ(Try(kAnna, Write(0, 9)), 0);
  EXPECT_EQ(Try(kBen, Write(10, 19)), 0);
  EXPECT_EQ(Try(kBen, Write(9, 9)), EAGAIN);
  EXPECT_EQ(Try(kBen, Write(0, 0), false, kOther), 0);
}

TEST_F(LockTableTest, UnlockingTheMiddleSplitsARange) {
  EXPECT_EQ(Try(kAnna, Write(0, 99)), 0);
  EXPECT_EQ(Try(kAnna, Unlock(40, 59)), 0);
  EXPECT_EQ(table_.held_count(), 2u);
  EXPECT_EQ(Try(kBen, Write(40, 59)), 0);
  EXPECT_EQ(Try(kBen, Read(39, 39)), EAGAIN);
  EXPECT_EQ(Try(kBen, Read(60, 60)), EAGAIN);
}

TEST_F(LockTableTest, TouchingRangesOfOneKindJoin) {
  EXPECT_EQ(Try(kAnna, Write(0, 9)), 0);
  EXPECT_EQ(Try(kAnna, Write(20, 29)), 0);
  EXPECT_EQ(Try(kAnna, Write(10, 19)), 0);
  EXPECT_EQ(table_.held_count(), 1u);
  EXPECT_EQ(Try(kAnna, Read(10, 19)), 0);
  EXPECT_EQ(table_.held_count(), 3u);
}

TEST_F(LockTableTest, GetTellsTheFirstLockInTheWay) {
  ASSERT_EQ(Try(kAnna, Write(10, 19)), 0);
  const LockRange found = table_.Get(kFile, kBen, Read(0, 100), false);
  EXPECT_EQ(found.type, LockType::kWrite);
  EXPECT_EQ(found.start, 10u);
  EXPECT_EQ(found.end, 19u);
  EXPECT_EQ(found.pid, 77u);
  EXPECT_EQ(table_.Get(kFile, kAnna, Write(0, 100), false).type, LockType::kUnlock);
  EXPECT_EQ(table_.Get(kFile, kBen, Read(20, 100), false).type, LockType::kUnlock);
}

TEST_F(LockTableTest, WaitersAreServedInTheOrderTheyCame) {
  ASSERT_EQ(Try(kAnna, Write()), 0);
  Answer& first = Wait(kBen, Write());
  Answer& second = Wait(kCara, Write());
  ASSERT_TRUE(first.waiting() && second.waiting());
  EXPECT_EQ(table_.waiting_count(), 2u);
  EXPECT_EQ(Try(kAnna, Unlock()), 0);
  EXPECT_EQ(first.error, 0);
  EXPECT_TRUE(second.waiting());
  EXPECT_EQ(Try(kBen, Unlock()), 0);
  EXPECT_EQ(second.error, 0);
  EXPECT_EQ(table_.waiting_count(), 0u);
}

TEST_F(LockTableTest, ADowngradeLetsReadersIn) {
  ASSERT_EQ(Try(kAnna, Write()), 0);
  Answer& reader = Wait(kBen, Read());
  EXPECT_EQ(Try(kAnna, Read()), 0);
  EXPECT_EQ(reader.error, 0);
}

TEST_F(LockTableTest, AFailedUpgradeKeepsTheReadLock) {
  ASSERT_EQ(Try(kAnna, Read()), 0);
  ASSERT_EQ(Try(kBen, Read()), 0);
  EXPECT_EQ(Try(kAnna, Write()), EAGAIN);
  EXPECT_EQ(Try(kBen, Unlock()), 0);
  EXPECT_EQ(Try(kCara, Write()), EAGAIN);
}

TEST_F(LockTableTest, ACycleOfWaitersIsADeadlock) {
  ASSERT_EQ(Try(kAnna, Write(), false, kFile), 0);
  ASSERT_EQ(Try(kBen, Write(), false, kOther), 0);
  Answer& ben = Wait(kBen, Write(), kFile);
  ASSERT_TRUE(ben.waiting());
  EXPECT_EQ(Wait(kAnna, Write(), kOther).error, EDEADLK);
  EXPECT_TRUE(ben.waiting());
  EXPECT_EQ(Try(kAnna, Write(), false, kOther), EAGAIN) << "who does not wait cannot deadlock";
}

TEST_F(LockTableTest, TwoReadersThatBothUpgradeAreADeadlock) {
  ASSERT_EQ(Try(kAnna, Read()), 0);
  ASSERT_EQ(Try(kBen, Read()), 0);
  Answer& ben = Wait(kBen, Write());
  ASSERT_TRUE(ben.waiting());
  EXPECT_EQ(Wait(kAnna, Write()).error, EDEADLK);
  EXPECT_EQ(Try(kAnna, Unlock()), 0);
  EXPECT_EQ(ben.error, 0);
}

TEST_F(LockTableTest, ALongCycleIsFound) {
  constexpr uint64_t kOwners = 50;
  for (uint64_t i = 0; i < kOwners; ++i) ASSERT_EQ(Try({i, 1}, Write(i, i)), 0);
  for (uint64_t i = 0; i + 1 < kOwners; ++i)
    ASSERT_TRUE(Wait({i, 1}, Write(i + 1, i + 1)).waiting());
  EXPECT_EQ(Wait({kOwners - 1, 1}, Write(0, 0)).error, EDEADLK);
}

TEST_F(LockTableTest, FlockIsForTheWholeFileAndApartFromFcntl) {
  EXPECT_EQ(Try(kAnna, Write(), true), 0);
  EXPECT_EQ(Try(kBen, Write(), false), 0);
  EXPECT_EQ(Try(kBen, Read(5, 6), true), EAGAIN);
  EXPECT_EQ(table_.Get(kFile, kBen, Read(), true).type, LockType::kWrite);
  EXPECT_EQ(Try(kAnna, Unlock(), true), 0);
  EXPECT_EQ(Try(kBen, Read(5, 6), true), 0);
}

TEST_F(LockTableTest, AFlockThatChangesIsGivenUpFirst) {
  ASSERT_EQ(Try(kAnna, Read(), true), 0);
  ASSERT_EQ(Try(kBen, Read(), true), 0);
  Answer& writer = Ask(kCara, Write(), true, true);
  EXPECT_EQ(Try(kAnna, Write(), true), EAGAIN);
  EXPECT_EQ(Try(kBen, Unlock(), true), 0);
  EXPECT_EQ(writer.error, 0) << "the one whose change failed holds nothing any more";
}

TEST_F(LockTableTest, FlockOwnersWaitForOneAnotherWithoutDeadlockDetection) {
  ASSERT_EQ(Try(kAnna, Write(), true, kFile), 0);
  ASSERT_EQ(Try(kBen, Write(), true, kOther), 0);
  Answer& ben = Ask(kBen, Write(), true, true, kFile);
  Answer& anna = Ask(kAnna, Write(), true, true, kOther);
  EXPECT_TRUE(ben.waiting() && anna.waiting());
  table_.Cancel(anna.id);
  table_.Cancel(ben.id);
}

TEST_F(LockTableTest, ACancelledWaitIsInterruptedOnce) {
  ASSERT_EQ(Try(kAnna, Write()), 0);
  Answer& ben = Wait(kBen, Write());
  table_.Cancel(ben.id);
  EXPECT_EQ(ben.error, EINTR);
  table_.Cancel(ben.id);
  table_.Cancel(12345);
  EXPECT_EQ(Try(kAnna, Unlock()), 0);
  EXPECT_EQ(table_.held_count(), 0u);
}

TEST_F(LockTableTest, ClosingReleasesTheOwnersFcntlLocksOnly) {
  ASSERT_EQ(Try(kAnna, Write(0, 9)), 0);
  ASSERT_EQ(Try(kAnna, Write(20, 29)), 0);
  ASSERT_EQ(Try(kAnna, Write(), true), 0);
  Answer& ben = Wait(kBen, Write());
  table_.ReleaseOwner(kFile, kAnna);
  EXPECT_EQ(ben.error, 0);
  EXPECT_EQ(Try(kBen, Write(), true), EAGAIN);
}

TEST_F(LockTableTest, TheLastCloseReleasesWhatWasTakenThroughTheOpenFile) {
  ASSERT_EQ(Try(kAnna, Write(0, 9), false, kFile, 1), 0);
  ASSERT_EQ(Try(kAnna, Write(10, 19), false, kFile, 2), 0);
  ASSERT_EQ(Try(kAnna, Write(), true, kFile, 1), 0);
  ASSERT_EQ(Try(kBen, Write(30, 39), false, kFile, 1), 0) << "the same number in another session";
  Answer& waiting = Ask(kAnna, Write(30, 39), true, false, kFile, 1);
  table_.ReleaseThrough(kFile, {kAnna.session, 1});
  EXPECT_EQ(waiting.error, EBADF);
  EXPECT_EQ(Try(kCara, Write(0, 9)), 0);
  EXPECT_EQ(Try(kCara, Write(10, 19)), EAGAIN);
  EXPECT_EQ(Try(kCara, Write(30, 39)), EAGAIN);
  EXPECT_EQ(Try(kCara, Write(), true), 0);
}

TEST_F(LockTableTest, AnEndedSessionHoldsAndWaitsForNothing) {
  ASSERT_EQ(Try(kBen, Write(), false, kFile), 0);
  ASSERT_EQ(Try(kCara, Write(), true, kOther), 0);
  ASSERT_EQ(Try(kAnna, Write(), false, kOther), 0);
  Answer& cara = Wait(kCara, Write(), kOther);
  Answer& anna = Wait(kAnna, Read(), kFile);
  table_.ReleaseSession(kBen.session);
  EXPECT_EQ(cara.error, ENOTCONN);
  EXPECT_EQ(anna.error, 0);
  EXPECT_EQ(table_.held_count(), 2u);
  EXPECT_EQ(table_.waiting_count(), 0u);
}

TEST_F(LockTableTest, RangesThatAreNoneAreRefused) {
  EXPECT_EQ(Try(kAnna, Write(5, 4)), EINVAL);
  EXPECT_EQ(Try(kAnna, Write(0, kEnd + 1)), EINVAL);
  EXPECT_EQ(Try(kAnna, Lock(static_cast<LockType>(9))), EINVAL);
}

TEST(LockTableLimits, ASessionHoldsAndWaitsForSoManyOnly) {
  LockTable table({.held = 4, .waiting = 1});
  const auto set = [&](const Owner& owner, const LockRange& range, bool wait = false) {
    int error = -1;
    table.Set(kFile, owner, {owner.session, 1}, range, false, wait,
              [&error](Result<Unit> result) { error = result.error().value(); });
    return error;
  };
  for (uint64_t i = 0; i < 4; ++i) ASSERT_EQ(set(kAnna, Write(i * 10, i * 10 + 5)), 0);
  EXPECT_EQ(set(kAnna, Write(100, 100)), ENOLCK);
  EXPECT_EQ(set(kAnna, Unlock(2, 3)), ENOLCK) << "a split is one more";
  EXPECT_EQ(set(kBen, Write(100, 100)), 0) << "another session has its own";
  EXPECT_EQ(set(kAnna, Unlock(0, 5)), 0);
  EXPECT_EQ(set(kAnna, Write(200, 200)), 0);
  int first = -1;
  table.Set(kFile, kBen, {2, 1}, Write(10, 10), false, true,
            [&first](Result<Unit> result) { first = result.error().value(); });
  EXPECT_EQ(set(kCara, Write(10, 10), true), ENOLCK);
  EXPECT_EQ(first, -1);
  table.ReleaseSession(kAnna.session);
  EXPECT_EQ(first, 0);
}

// A byte of the file, for every owner: what it holds there.
class ByteModel {
 public:
  static constexpr uint64_t kBytes = 24;
  static constexpr int kOwners = 4;

  bool Conflicts(int owner, const LockRange& range) const {
    for (int other = 0; other < kOwners; ++other) {
      for (uint64_t byte = range.start; other != owner && byte <= range.end; ++byte) {
        const LockType held = bytes_[other][byte];
        if (held == LockType::kWrite || (held == LockType::kRead && range.type == LockType::kWrite))
          return true;
      }
    }
    return false;
  }
  void Apply(int owner, const LockRange& range) {
    for (uint64_t byte = range.start; byte <= range.end; ++byte) bytes_[owner][byte] = range.type;
  }
  // Maximal runs of one type.
  size_t CountRanges() const {
    size_t count = 0;
    for (const auto& bytes : bytes_) {
      for (uint64_t i = 0; i < kBytes; ++i) {
        count += bytes[i] != LockType::kUnlock && (i == 0 || bytes[i - 1] != bytes[i]);
      }
    }
    return count;
  }
  ByteModel() {
    for (auto& bytes : bytes_) bytes.fill(LockType::kUnlock);
  }

 private:
  std::array<std::array<LockType, kBytes>, kOwners> bytes_;
};

TEST(LockTableModel, RandomCallsDoWhatAByteArrayDoes) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    LockTable table;
    ByteModel model;
    for (int step = 0; step < 500; ++step) {
      const int owner = static_cast<int>(random() % ByteModel::kOwners);
      uint64_t a = random() % ByteModel::kBytes, b = random() % ByteModel::kBytes;
      if (a > b) std::swap(a, b);
      const LockRange range = Lock(static_cast<LockType>(random() % 3), a, b);
      const bool conflict = range.type != LockType::kUnlock && model.Conflicts(owner, range);
      const Owner named{static_cast<uint64_t>(owner % 2), static_cast<uint64_t>(owner)};
      ASSERT_EQ(table.Get(kFile, named, range, false).type != LockType::kUnlock, conflict)
          << "step " << step;
      int error = -1;
      table.Set(kFile, named, {named.session, 1}, range, false, false,
                [&error](Result<Unit> result) { error = result.error().value(); });
      ASSERT_EQ(error, conflict ? EAGAIN : 0) << "step " << step;
      if (!conflict) model.Apply(owner, range);
      ASSERT_EQ(table.held_count(), model.CountRanges()) << "step " << step;
    }
  }
}

TEST(LockTableThreads, ManyThreadsThatLockAndCancelLeaveNothingBehind) {
  LockTable table;
  std::atomic<int> answered{0};
  constexpr int kThreads = 4, kRounds = 400;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&table, &answered, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      const Owner owner{static_cast<uint64_t>(t), 1};
      for (int i = 0; i < kRounds; ++i) {
        const uint64_t start = random() % 8;
        const LockRange range =
            Lock(random() % 2 ? LockType::kRead : LockType::kWrite, start, start + random() % 4);
        auto id = table.Set(random() % 2 ? kFile : kOther, owner, {owner.session, 1}, range,
                            random() % 4 == 0, random() % 2 == 0,
                            [&answered](Result<Unit>) { ++answered; });
        if (id != 0) table.Cancel(id);
        if (i % 8 == 0) table.ReleaseOwner(kFile, owner);
        if (i % 16 == 0) table.ReleaseThrough(kOther, {owner.session, 1});
      }
      table.ReleaseSession(owner.session);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, kThreads * kRounds);
  EXPECT_EQ(table.held_count(), 0u);
  EXPECT_EQ(table.waiting_count(), 0u);
}

}  // namespace
}  // namespace rdmafs
