// Requests about locks: waits, interrupts, and files that are being released.
#include <fstream>

#include "fuse/handlers.h"
#include "tests/fuse/handlers_fixture.h"

namespace rdmafs::fuse {
namespace {

TEST_F(HandlersOnAFile, AWaitingLockDoesNotKeepItsBlockAndIsGivenUpByAnInterrupt) {
  fuse_lk_in lock{.fh = fh_, .owner = 1, .lk = {.start = 0, .end = 100, .type = F_WRLCK}};
  ASSERT_TRUE(OnlyAnswer(Send(FUSE_SETLK, node_, Bytes(lock))).error.ok());
  lock.owner = 2;
  const uint64_t waiting = Send(FUSE_SETLKW, node_, Bytes(lock));
  EXPECT_EQ(channel_.answers.count(waiting), 0u);
  EXPECT_EQ(pool_.statistics().used_count, 0u);
  Send(FUSE_INTERRUPT, 0, Bytes(fuse_interrupt_in{.unique = waiting}));
  loop_.RunOnce(0);
  EXPECT_EQ(OnlyAnswer(waiting).error, Errno(EINTR));
}

TEST_F(HandlersOnAFile, AnInterruptBeforeItsLockCancelsTheLock) {
  fuse_lk_in lock{.fh = fh_, .owner = 1, .lk = {.start = 0, .end = 100, .type = F_WRLCK}};
  Send(FUSE_SETLK, node_, Bytes(lock));
  lock.owner = 2;
  Send(FUSE_INTERRUPT, 0, Bytes(fuse_interrupt_in{.unique = unique_ + 2}));
  const uint64_t waiting = Send(FUSE_SETLKW, node_, Bytes(lock));
  loop_.RunOnce(0);
  EXPECT_EQ(OnlyAnswer(waiting).error, Errno(EINTR));
}

class HandlersOnALockedFile : public HandlersOnAFile {
 protected:
  HandlersOnALockedFile() { CHECK(OnlyAnswer(Send(FUSE_SETLK, node_, Bytes(lock_))).error.ok()); }
  void Unlock() {
    file_system_->ReleaseOwner(UseOpenFile(*context_, fh_), lock_.owner, [](Result<Unit>) {});
  }
  // By another owner.
  uint64_t AskForLock(uint32_t opcode) {
    fuse_lk_in wanted = lock_;
    wanted.owner = 2;
    return Send(opcode, node_, Bytes(wanted));
  }
  bool IsAnswered(uint64_t unique) {
    for (int i = 0; i < 3; ++i) loop_.RunOnce(0);
    return channel_.answers.count(unique) != 0;
  }
  const fuse_lk_in lock_{.fh = fh_, .owner = 1, .lk = {.start = 0, .end = 100, .type = F_WRLCK}};
};

TEST_F(HandlersOnALockedFile, ALockThatIsInTheWayOfAnotherRefusesIt) {
  const uint64_t set = AskForLock(FUSE_SETLK), get = AskForLock(FUSE_GETLK);
  ASSERT_TRUE(IsAnswered(set) && IsAnswered(get));
  EXPECT_EQ(OnlyAnswer(set).error, Errno(EAGAIN));
  EXPECT_EQ(As<fuse_lk_out>(OnlyAnswer(get)).lk.type, uint32_t{F_WRLCK});
}

TEST_F(HandlersOnALockedFile, WhatIsInTheWayIsWaitedForWhileItsFileIsBeingReleased) {
  lock_releases_.Begin(node_);
  const uint64_t set = AskForLock(FUSE_SETLK), get = AskForLock(FUSE_GETLK);
  EXPECT_FALSE(IsAnswered(set) || IsAnswered(get));
  EXPECT_EQ(context_->releases_in_flight(), 2u);
  Unlock();
  lock_releases_.End(node_);
  ASSERT_TRUE(IsAnswered(set) && IsAnswered(get));
  EXPECT_TRUE(OnlyAnswer(set).error.ok());
  EXPECT_EQ(context_->releases_in_flight(), 0u);
}

TEST_F(HandlersOnALockedFile, AReleaseThatEndsBeforeAnyoneLooksForItCounts) {
  const uint64_t set = AskForLock(FUSE_SETLK);
  lock_releases_.Begin(node_);
  Unlock();
  lock_releases_.End(node_);
  ASSERT_TRUE(IsAnswered(set));
  EXPECT_TRUE(OnlyAnswer(set).error.ok());
}

TEST_F(HandlersOnALockedFile, AReleaseThatFreesSomethingElseLeavesTheLockRefused) {
  lock_releases_.Begin(node_);
  const uint64_t set = AskForLock(FUSE_SETLK), get = AskForLock(FUSE_GETLK);
  lock_releases_.End(node_);
  ASSERT_TRUE(IsAnswered(set) && IsAnswered(get));
  EXPECT_EQ(OnlyAnswer(set).error, Errno(EAGAIN));
  EXPECT_EQ(As<fuse_lk_out>(OnlyAnswer(get)).lk.type, uint32_t{F_WRLCK});
}

TEST_F(HandlersOnALockedFile, AReleasedFileWithLocksIsNoLongerInTheWay) {
  const auto other =
      As<fuse_open_out>(OnlyAnswer(Send(FUSE_OPEN, node_, Bytes(fuse_open_in{.flags = O_RDWR}))));
  Send(FUSE_RELEASE, node_, Bytes(fuse_release_in{.fh = fh_}));
  fuse_lk_in wanted = lock_;
  wanted.fh = other.fh;
  wanted.owner = 2;
  EXPECT_TRUE(OnlyAnswer(Send(FUSE_SETLK, node_, Bytes(wanted))).error.ok());
  EXPECT_EQ(lock_releases_.ended_count(), 1u);
}

class HandlersOnALockedFileWithPages : public HandlersOnAFile {
 protected:
  HandlersOnALockedFileWithPages() { Write("content", 7); }
  void Read(uint32_t flags = 0) {
    Send(FUSE_READ, node_, Bytes(fuse_read_in{.fh = fh_, .size = 100, .read_flags = flags}));
  }
  void AnotherClientWrites() { std::ofstream(path_ + "/x") << "another content"; }
  Errno Lock(uint32_t type) {
    const fuse_lk_in lock{.fh = fh_, .owner = 1, .lk = {.start = 0, .end = 100, .type = type}};
    const uint64_t unique = Send(FUSE_SETLK, node_, Bytes(lock));
    was_early_ = channel_.answers.count(unique) != 0;
    for (int i = 0; i < 3; ++i) loop_.RunOnce(0);
    return OnlyAnswer(unique).error;
  }
  bool was_early_ = false;  // the answer came before the pages were dropped
};

TEST_F(HandlersOnALockedFileWithPages, ALockDropsThePagesBeforeItsAnswer) {
  EXPECT_EQ(Lock(F_WRLCK), kOk);
  EXPECT_EQ(dropped_, std::vector<uint64_t>{node_});
  EXPECT_FALSE(was_early_);
}

TEST_F(HandlersOnALockedFileWithPages, AfterThatThereAreNoneUntilTheNextReadThroughTheCache) {
  Lock(F_WRLCK);
  Read(FUSE_READ_LOCKOWNER);
  AnotherClientWrites();
  Lock(F_RDLCK);
  EXPECT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(channel_.notifications[FUSE_NOTIFY_INVAL_INODE], 1) << "of the attributes";
}

TEST_F(HandlersOnALockedFileWithPages, PagesReadSinceTheLastLockAreDroppedIfTheFileChanged) {
  Lock(F_WRLCK);
  Read();
  Lock(F_RDLCK);
  EXPECT_EQ(dropped_.size(), 1u);
  AnotherClientWrites();
  Lock(F_RDLCK);
  EXPECT_EQ(dropped_.size(), 2u);
}

TEST_F(HandlersOnALockedFileWithPages, AnUnlockDropsNothing) {
  EXPECT_EQ(Lock(F_UNLCK), kOk);
  EXPECT_TRUE(dropped_.empty());
}

TEST_F(HandlersOnALockedFileWithPages, WithAWriteBackCacheAnUnlockHandsInWhatWasWritten) {
  settings_.writeback = true;
  EXPECT_EQ(Lock(F_UNLCK), kOk);
  EXPECT_EQ(dropped_, std::vector<uint64_t>{node_});
}

TEST_F(HandlersOnALockedFileWithPages, ARefusedLockDropsNothing) {
  fuse_lk_in lock{.fh = fh_, .owner = 2, .lk = {.start = 0, .end = 100, .type = F_WRLCK}};
  Send(FUSE_SETLK, node_, Bytes(lock));
  for (int i = 0; i < 3; ++i) loop_.RunOnce(0);
  dropped_.clear();
  Read();
  AnotherClientWrites();
  EXPECT_EQ(Lock(F_WRLCK), Errno(EAGAIN));
  EXPECT_TRUE(dropped_.empty());
}

TEST_F(HandlersOnALockedFileWithPages, TheFilesOwnersWordThatNobodyElseChangesItIsTaken) {
  settings_.cache = CacheMode::kAlways;
  EXPECT_EQ(Lock(F_WRLCK), kOk);
  EXPECT_TRUE(dropped_.empty());
}

TEST_F(HandlersOnAFile, AFlushGivesTheOwnersLocksUp) {
  fuse_lk_in lock{.fh = fh_, .owner = 1, .lk = {.start = 0, .end = 100, .type = F_WRLCK}};
  Send(FUSE_SETLK, node_, Bytes(lock));
  Send(FUSE_FLUSH, node_, Bytes(fuse_flush_in{.fh = fh_, .lock_owner = 1}));
  lock.owner = 2;
  EXPECT_TRUE(OnlyAnswer(Send(FUSE_SETLK, node_, Bytes(lock))).error.ok());
}

}  // namespace
}  // namespace rdmafs::fuse
