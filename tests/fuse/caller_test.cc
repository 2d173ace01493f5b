// Whose groups a request comes with.
#include "fuse/caller.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

namespace rdmafs::fuse {
namespace {

fuse_in_header From(uint32_t pid, uint32_t uid, uint32_t gid) {
  fuse_in_header header{};
  header.pid = pid;
  header.uid = uid;
  header.gid = gid;
  return header;
}

class GroupCacheTest : public ::testing::Test {
 protected:
  // The reader says which thread was asked for, and is counted.
  int reads_ = 0;
  GroupCache cache_{[this](pid_t tid, absl::Span<uint32_t> groups) {
    ++reads_;
    groups[0] = static_cast<uint32_t>(tid) + 1000;
    return size_t{1};
  }};
};

TEST_F(GroupCacheTest, RootAndCallersWithoutAPidAreNotLookedUp) {
  EXPECT_TRUE(cache_.Find(From(5, 0, 0), 0, 0).groups.empty());
  EXPECT_TRUE(cache_.Find(From(0, 7, 7), 0, 0).groups.empty());
  EXPECT_EQ(reads_, 0);
}

TEST_F(GroupCacheTest, ARunOfRequestsIsOneLook) {
  for (Nanoseconds now = 0; now < GroupCache::kLifetime; now += kMillisecond) {
    EXPECT_EQ(cache_.Find(From(5, 7, 7), 022, now).groups.at(0), 1005u);
  }
  EXPECT_EQ(reads_, 1);
}

TEST_F(GroupCacheTest, AfterAMomentItLooksAgain) {
  cache_.Find(From(5, 7, 7), 0, 0);
  cache_.Find(From(5, 7, 7), 0, GroupCache::kLifetime);
  EXPECT_EQ(reads_, 2);
}

TEST_F(GroupCacheTest, AnotherThreadUserOrGroupIsLookedUpAtOnce) {
  cache_.Find(From(5, 7, 7), 0, 0);
  EXPECT_EQ(cache_.Find(From(5 + 32, 7, 7), 0, 0).groups.at(0), 1037u);  // the same place
  cache_.Find(From(5, 8, 7), 0, 0);
  cache_.Find(From(5, 8, 9), 0, 0);
  EXPECT_EQ(reads_, 4);
}

// A child that does what `act` says, and its state as WantsToLeave() sees it within a second.
bool LeavesAfter(void (*prepare)(), void (*act)(pid_t)) {
  int ready[2];
  EXPECT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    prepare();
    (void)!::write(ready[1], "", 1);
    for (;;) ::pause();
  }
  char byte;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  act(child);
  bool leaves = false;
  for (int look = 0; look < 100 && !leaves; ++look) {
    leaves = WantsToLeave(child);
    if (!leaves) ::usleep(2'000);
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  for (int end : ready) ::close(end);
  return leaves;
}

void BlockTerm() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
}

TEST(WantsToLeave, WhoHasNoSignalStays) {
  EXPECT_FALSE(WantsToLeave(::getpid()));
  EXPECT_FALSE(LeavesAfter([] {}, [](pid_t) {}));
}

TEST(WantsToLeave, ASignalThatIsBlockedIsNone) {
  EXPECT_FALSE(LeavesAfter(BlockTerm, [](pid_t child) { ::kill(child, SIGTERM); }));
}

TEST(WantsToLeave, ASignalThatWasNotTakenYetCounts) {
  // Stopped, it takes no other signal.
  EXPECT_TRUE(LeavesAfter([] { ::signal(SIGUSR1, [](int) {}); },
                          [](pid_t child) {
                            ::kill(child, SIGSTOP);
                            int status;
                            ::waitpid(child, &status, WUNTRACED);
                            ::kill(child, SIGUSR1);
                          }));
}

TEST(WantsToLeave, WhoIsAtItsEndDoes) {
  EXPECT_TRUE(LeavesAfter([] {}, [](pid_t child) { ::kill(child, SIGKILL); }));
}

TEST(WantsToLeave, WhoIsNotThereHasNothingToWant) { EXPECT_FALSE(WantsToLeave(0x7ffffff0)); }

TEST(ReadGroups, AreThoseOfTheProcess) {
  int ready[2], end[2];
  ASSERT_EQ(::pipe(ready) | ::pipe(end), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const gid_t groups[] = {3, 4294967290u, 70000};
    [[maybe_unused]] ssize_t n = ::setgroups(3, groups) == 0 ? ::write(ready[1], "r", 1) : 0;
    ::close(end[1]);
    char byte;
    n = ::read(end[0], &byte, 1);
    ::_exit(0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  std::vector<uint32_t> groups(wire::kMaxGroups);
  groups.resize(ReadGroups(child, absl::MakeSpan(groups)));
  ::close(end[1]);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(groups, (std::vector<uint32_t>{3, 70000, 4294967290u}));
  for (int fd : {ready[0], ready[1], end[0]}) ::close(fd);
}

TEST(ReadGroups, OfAThreadThatIsGoneAreNone) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  uint32_t groups[4];
  EXPECT_EQ(ReadGroups(child, absl::MakeSpan(groups)), 0u);
}

}  // namespace
}  // namespace rdmafs::fuse
