// A real mount: how it begins and ends, and what one client sees of another's changes.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "tests/fuse/mounted.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::fuse {
namespace {

TEST(Mount, ItIsThereWhenTheProgramHasReturnedAndUmountEndsIt) {
  Mounted mounted;
  EXPECT_TRUE(mounted.IsMounted());
  EXPECT_EQ(mounted.Unmount(), 0);
  EXPECT_EQ(mounted.WaitForExit(), 0);
}

TEST(Mount, ItsSourceAndTypeAreSeenInProcMounts) {
  Mounted mounted;
  const std::string mounts = ReadFile("/proc/mounts");
  EXPECT_NE(mounts.find("local:" + mounted.below("").substr(0, mounted.below("").size() - 1) + " " +
                        mounted.mount_point() + " fuse.rdmafs "),
            std::string::npos);
}

TEST(Mount, SignalsUnmountIt) {
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) {
    Mounted mounted;
    ASSERT_EQ(::kill(mounted.process(), signal), 0);
    EXPECT_EQ(mounted.WaitForExit(), 0);
    EXPECT_FALSE(mounted.IsMounted());
  }
}

TEST(Mount, ABusyMountCanBeTakenAwayAndServesItsOpenFilesUntilTheyAreClosed) {
  Mounted mounted;
  WriteFile(mounted.at("f"), "before");
  UniqueFd fd(::open(mounted.at("f").c_str(), O_RDWR));
  EXPECT_EQ(mounted.Unmount(), EBUSY);
  EXPECT_EQ(mounted.Unmount(MNT_DETACH), 0);
  EXPECT_EQ(::pwrite(fd.get(), "after!", 6, 0), 6);
  fd.reset();
  EXPECT_EQ(mounted.WaitForExit(), 0);
  EXPECT_EQ(ReadFile(mounted.below("f")), "after!");
}

TEST(Mount, ASignalEndsABusyMountToo) {
  Mounted mounted;
  WriteFile(mounted.at("f"), "x");
  UniqueFd fd(::open(mounted.at("f").c_str(), O_RDONLY));
  ASSERT_EQ(::kill(mounted.process(), SIGTERM), 0);
  EXPECT_EQ(mounted.WaitForExit(), 0);
  char byte;
  // The kernel takes a ring down a moment after its process: a read that comes between is aborted.
  const int error = ::pread(fd.get(), &byte, 1, 0) < 0 ? errno : 0;
  EXPECT_TRUE(error == ENOTCONN || error == ECONNABORTED) << error;
}

// A caller who waits for an answer that never comes; his exit status once `signal` has reached him.
int WaitForTheLostServer(const Mounted& mounted, int signal) {
  int ready[2];
  EXPECT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &action, nullptr);
    [[maybe_unused]] ssize_t told = ::write(ready[1], "r", 1);
    ::_exit(::getxattr(mounted.mount_point().c_str(), "user.lost", nullptr, 0) < 0 ? errno : 0);
  }
  char byte;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  ::close(ready[1]);
  int status = 0;
  // Again and again, as the first may come before the wait. Bounded by the test's own time limit.
  while (::waitpid(child, &status, WNOHANG) == 0) {
    ::kill(child, signal);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(LostServer, ACallerWhoIsInterruptedGetsEintr) {
  Mounted mounted;
  EXPECT_EQ(WaitForTheLostServer(mounted, SIGUSR1), EINTR);
}

TEST(LostServer, ACallerCanBeKilled) {
  Mounted mounted;
  EXPECT_EQ(WaitForTheLostServer(mounted, SIGKILL), 128 + SIGKILL);
}

TEST(LostServer, TheMountIsTakenAwayUnderACallerWhoWaits) {
  Mounted mounted;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    [[maybe_unused]] ssize_t told = ::write(ready[1], "r", 1);
    ::_exit(::getxattr(mounted.mount_point().c_str(), "user.lost", nullptr, 0) < 0 ? errno : 0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(mounted.Unmount(MNT_FORCE | MNT_DETACH), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_EQ(mounted.WaitForExit(), 0);
}

struct Failure {
  std::vector<std::string> arguments;
  const char* said;
};

TEST(Mount, WhatCannotBeMountedIsOneLineAndExitStatusOne) {
  const std::vector<Failure> failures = {
      {{"nowhere:/tmp", "/tmp"}, "nowhere cannot be reached"},
      {{"local:/does/not/exist", "/tmp"}, "is not exported"},
      {{"local:/tmp", "/does/not/exist"}, "No such file or directory"},
      {{"local:/tmp", "/etc/passwd"}, "not a directory"},
      {{"local:/tmp", "/tmp", "-o", "context=nonsense,nocolour"}, "unknown option 'nocolour'"},
      {{"local:/tmp"}, "usage"},
  };
  for (const Failure& failure : failures) {
    std::vector<std::string> arguments = {RDMAFS_LOCAL};
    arguments.insert(arguments.end(), failure.arguments.begin(), failure.arguments.end());
    const Ran ran = RunProgram(arguments);
    EXPECT_EQ(ran.status, 1);
    EXPECT_NE(ran.error.find(failure.said), std::string::npos) << ran.error;
    EXPECT_EQ(std::count(ran.error.begin(), ran.error.end(), '\n'), 1) << ran.error;
  }
}

TEST(Mount, AReadOnlyMountRefusesWrites) {
  Mounted mounted("ro");
  WriteFile(mounted.below("f"), "text");
  EXPECT_EQ(ReadFile(mounted.at("f")), "text");
  EXPECT_EQ(::open(mounted.at("g").c_str(), O_CREAT | O_WRONLY, 0644), -1);
  EXPECT_EQ(errno, EROFS);
}

TEST(CloseToOpen, AnOpenSeesWhatAnotherClientWroteEvenWithinTheAttributeTimeout) {
  Mounted mounted("attr_timeout=100,entry_timeout=100");
  WriteFile(mounted.at("f"), "short");
  EXPECT_EQ(ReadFile(mounted.at("f")), "short");
  WriteFile(mounted.below("f"), "a good deal longer than before");
  EXPECT_EQ(ReadFile(mounted.at("f")), "a good deal longer than before");
  WriteFile(mounted.below("f"), "brief");
  EXPECT_EQ(ReadFile(mounted.at("f")), "brief");
  struct stat status;
  ASSERT_EQ(::stat(mounted.at("f").c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 5);
}

TEST(CloseToOpen, ASharedMappingSeesItAfterTheNextOpen) {
  Mounted mounted("attr_timeout=100,entry_timeout=100");
  WriteFile(mounted.at("f"), std::string(8192, 'a'));
  EXPECT_EQ(ReadFile(mounted.at("f"))[5000], 'a');
  WriteFile(mounted.below("f"), std::string(8192, 'b'));
  UniqueFd fd(::open(mounted.at("f").c_str(), O_RDWR));
  void* memory = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  char* const bytes = static_cast<char*>(memory);
  EXPECT_EQ(bytes[5000], 'b');
  bytes[5000] = 'c';
  ASSERT_EQ(::msync(memory, 8192, MS_SYNC), 0);
  ::munmap(memory, 8192);
  EXPECT_EQ(ReadFile(mounted.below("f"))[5000], 'c');
}

// --- Data, whatever the options ---

class DataWith : public ::testing::TestWithParam<const char*> {};

TEST_P(DataWith, AFileOfOddSizeComesBackAsItWasWritten) {
  Mounted mounted(GetParam());
  std::string data(5'000'003, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 2654435761u >> 13);
  WriteFile(mounted.at("f"), data);
  EXPECT_TRUE(ReadFile(mounted.at("f")) == data);
  EXPECT_TRUE(ReadFile(mounted.below("f")) == data);
}

TEST_P(DataWith, ManyThreadsWithMoreInFlightThanThereAreBlocksAllFinish) {
  Mounted mounted(GetParam());
  constexpr size_t kBytes = size_t{1} << 20;
  constexpr int kThreads = 24;
  UniqueFd fd(::open(mounted.at("f").c_str(), O_CREAT | O_RDWR | O_DIRECT, 0644));
  ASSERT_TRUE(fd.valid());
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&fd, t] {
      void* memory = std::aligned_alloc(4096, kBytes);
      for (int round = 0; round < 3; ++round) {
        std::memset(memory, 'a' + t, kBytes);
        EXPECT_EQ(::pwrite(fd.get(), memory, kBytes, static_cast<off_t>(t * kBytes)),
                  ssize_t{kBytes});
        std::memset(memory, 0, kBytes);
        EXPECT_EQ(::pread(fd.get(), memory, kBytes, static_cast<off_t>(t * kBytes)),
                  ssize_t{kBytes});
        EXPECT_EQ(static_cast<char*>(memory)[kBytes - 1], 'a' + t);
      }
      std::free(memory);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_P(DataWith, AppendingWritersDoNotOverwriteEachOther) {
  Mounted mounted(GetParam());
  UniqueFd one(::open(mounted.at("f").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0644));
  UniqueFd two(::open(mounted.at("f").c_str(), O_WRONLY | O_APPEND));
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(::write(one.get(), "one\n", 4), 4);
    ASSERT_EQ(::write(two.get(), "two\n", 4), 4);
  }
  one.reset();
  two.reset();
  EXPECT_EQ(ReadFile(mounted.below("f")).size(), 800u);
  EXPECT_EQ(ReadFile(mounted.below("f")).substr(0, 8), "one\ntwo\n");
}

INSTANTIATE_TEST_SUITE_P(Mount, DataWith,
                         ::testing::Values("", "direct_io", "cache=none", "cache=always",
                                           "writeback", "max_read=64K", "shards=1",
                                           "shards=4,pool_size=4M", "sync"));

}  // namespace
}  // namespace rdmafs::fuse
