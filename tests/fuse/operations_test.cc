// What a program expects of a directory, on a real mount.
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <cstring>
#include <functional>
#include <memory>
#include <set>

#include "tests/fuse/mounted.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::fuse {
namespace {

// One mount for all tests of the suite; each works in names of its own.
class Operations : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { mounted_ = std::make_unique<Mounted>("allow_other,suid,dev"); }
  static void TearDownTestSuite() { mounted_.reset(); }

  static std::string at(const std::string& name) { return mounted_->at(name); }
  static std::string below(const std::string& name) { return mounted_->below(name); }
  static struct stat Stat(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
  }
  static UniqueFd Open(const std::string& name, int flags, mode_t mode = 0644) {
    return UniqueFd(::open(at(name).c_str(), flags, mode));
  }
  // The errno of what is run, 0 for success, in another process with this identity.
  static int As(uid_t uid, gid_t gid, std::vector<gid_t> groups, const std::function<int()>& run) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setgroups(groups.size(), groups.data()) != 0 || ::setgid(gid) != 0 ||
          ::setuid(uid) != 0) {
        ::_exit(255);
      }
      ::_exit(run() == 0 ? 0 : errno);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  }

  static std::unique_ptr<Mounted> mounted_;
};
std::unique_ptr<Mounted> Operations::mounted_;

TEST_F(Operations, NamesAreMadeLinkedRenamedAndRemoved) {
  WriteFile(at("n1"), "text");
  ASSERT_EQ(::link(at("n1").c_str(), at("n2").c_str()), 0);
  EXPECT_EQ(Stat(at("n1")).st_nlink, 2u);
  EXPECT_EQ(Stat(at("n1")).st_ino, Stat(at("n2")).st_ino);
  ASSERT_EQ(::rename(at("n2").c_str(), at("n3").c_str()), 0);
  ASSERT_EQ(::mkdir(at("nd").c_str(), 0750), 0);
  ASSERT_EQ(::rename(at("n3").c_str(), at("nd/n4").c_str()), 0);
  EXPECT_EQ(::rmdir(at("nd").c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  ASSERT_EQ(::unlink(at("nd/n4").c_str()), 0);
  ASSERT_EQ(::rmdir(at("nd").c_str()), 0);
  EXPECT_EQ(::open(at("nd").c_str(), O_RDONLY), -1);
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(Operations, RenameKnowsNoReplaceAndExchange) {
  WriteFile(at("r1"), "one");
  WriteFile(at("r2"), "two");
  EXPECT_EQ(::renameat2(AT_FDCWD, at("r1").c_str(), AT_FDCWD, at("r2").c_str(), RENAME_NOREPLACE),
            -1);
  EXPECT_EQ(errno, EEXIST);
  ASSERT_EQ(::renameat2(AT_FDCWD, at("r1").c_str(), AT_FDCWD, at("r2").c_str(), RENAME_EXCHANGE),
            0);
  EXPECT_EQ(ReadFile(at("r1")), "two");
  EXPECT_EQ(ReadFile(at("r2")), "one");
}

TEST_F(Operations, SymbolicLinksFifosSocketsAndDevicesAreMade) {
  const std::string target(1000, 't');
  ASSERT_EQ(::symlink(target.c_str(), at("s").c_str()), 0);
  EXPECT_EQ(std::filesystem::read_symlink(at("s")).string(), target);
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  EXPECT_TRUE(S_ISFIFO(Stat(at("fifo")).st_mode));
  ASSERT_EQ(::mknod(at("sock").c_str(), S_IFSOCK | 0600, 0), 0);
  EXPECT_TRUE(S_ISSOCK(Stat(at("sock")).st_mode));
  ASSERT_EQ(::mknod(at("null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  EXPECT_EQ(Stat(at("null")).st_rdev, makedev(1, 3));
}

TEST_F(Operations, LongAndUnprintableNamesAreNames) {
  const std::string longest(255, 'l');
  WriteFile(at(longest), "x");
  EXPECT_EQ(ReadFile(below(longest)), "x");
  EXPECT_EQ(::open(at(longest + "l").c_str(), O_CREAT | O_WRONLY, 0644), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
  WriteFile(at("\xff\x01\n\xc3("), "y");
  EXPECT_EQ(ReadFile(below("\xff\x01\n\xc3(")), "y");
}

TEST_F(Operations, AttributesAreSet) {
  WriteFile(at("a"), "0123456789");
  ASSERT_EQ(::chmod(at("a").c_str(), 0421), 0);
  ASSERT_EQ(::chown(at("a").c_str(), 12, 34), 0);
  ASSERT_EQ(::truncate(at("a").c_str(), 4), 0);
  timespec times[2] = {{1000, 111}, {-5, 222}};
  ASSERT_EQ(::utimensat(AT_FDCWD, at("a").c_str(), times, 0), 0);
  struct stat status = Stat(at("a"));
  EXPECT_EQ(status.st_mode, S_IFREG | 0421u);
  EXPECT_EQ(status.st_uid, 12u);
  EXPECT_EQ(status.st_gid, 34u);
  EXPECT_EQ(status.st_size, 4);
  EXPECT_EQ(status.st_atim.tv_nsec, 111);
  EXPECT_EQ(status.st_mtim.tv_sec, -5);
  times[0].tv_nsec = UTIME_OMIT;
  times[1].tv_nsec = UTIME_NOW;
  ASSERT_EQ(::utimensat(AT_FDCWD, at("a").c_str(), times, 0), 0);
  status = Stat(at("a"));
  EXPECT_EQ(status.st_atim.tv_sec, 1000);
  EXPECT_GT(status.st_mtim.tv_sec, 1'000'000'000);
}

TEST_F(Operations, TheUmaskOfTheCallerCounts) {
  const mode_t old = ::umask(027);
  WriteFile(at("u"), "");
  ::mkdir(at("ud").c_str(), 0777);
  ::umask(old);
  EXPECT_EQ(Stat(below("u")).st_mode & 0777, 0640u);
  EXPECT_EQ(Stat(below("ud")).st_mode & 0777, 0750u);
}

TEST_F(Operations, AFileWithoutANameLivesUntilItIsClosedOrLinked) {
  UniqueFd fd = Open("", O_TMPFILE | O_RDWR);
  ASSERT_TRUE(fd.valid()) << std::strerror(errno);
  ASSERT_EQ(::write(fd.get(), "tmp", 3), 3);
  ASSERT_EQ(::linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd.get())).c_str(), AT_FDCWD,
                     at("tmp").c_str(), AT_SYMLINK_FOLLOW),
            0);
  EXPECT_EQ(ReadFile(at("tmp")), "tmp");
}

TEST_F(Operations, AnUnlinkedFileIsStillAFile) {
  UniqueFd fd = Open("gone", O_CREAT | O_RDWR);
  ASSERT_EQ(::unlink(at("gone").c_str()), 0);
  ASSERT_EQ(::pwrite(fd.get(), "still", 5, 0), 5);
  char text[5];
  ASSERT_EQ(::pread(fd.get(), text, 5, 0), 5);
  struct stat status;
  ASSERT_EQ(::fstat(fd.get(), &status), 0);
  EXPECT_EQ(status.st_nlink, 0u);
  EXPECT_EQ(status.st_size, 5);
}

TEST_F(Operations, HolesAreMadeAndFound) {
  UniqueFd fd = Open("holes", O_CREAT | O_RDWR);
  ASSERT_EQ(::pwrite(fd.get(), std::string(65536, 'h').data(), 65536, 0), 65536);
  ASSERT_EQ(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16384, 16384), 0);
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_HOLE), 16384);
  EXPECT_EQ(::lseek(fd.get(), 16384, SEEK_DATA), 32768);
  char byte = 'x';
  ASSERT_EQ(::pread(fd.get(), &byte, 1, 20000), 1);
  EXPECT_EQ(byte, '\0');
  ASSERT_EQ(::fallocate(fd.get(), 0, 65536, 4096), 0);
  EXPECT_EQ(Stat(at("holes")).st_size, 65536 + 4096);
}

TEST_F(Operations, CopyFileRangeCopies) {
  WriteFile(at("c1"), std::string(100'000, 'c'));
  UniqueFd in = Open("c1", O_RDONLY), out = Open("c2", O_CREAT | O_RDWR);
  off_t in_at = 0, out_at = 0;
  ASSERT_EQ(::copy_file_range(in.get(), &in_at, out.get(), &out_at, 100'000, 0), 100'000);
  EXPECT_EQ(ReadFile(at("c2")), std::string(100'000, 'c'));
}

TEST_F(Operations, ExtendedAttributesAreKept) {
  WriteFile(at("x"), "");
  const std::string value(30'000, 'v');
  ASSERT_EQ(::setxattr(at("x").c_str(), "user.big", value.data(), value.size(), XATTR_CREATE), 0);
  EXPECT_EQ(::setxattr(at("x").c_str(), "user.big", "w", 1, XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  std::string read(65536, '\0');
  ASSERT_EQ(::getxattr(at("x").c_str(), "user.big", read.data(), read.size()), 30'000);
  EXPECT_EQ(read.substr(0, 30'000), value);
  EXPECT_EQ(::getxattr(at("x").c_str(), "user.big", read.data(), 10), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(::listxattr(at("x").c_str(), read.data(), read.size()), 9);
  ASSERT_EQ(::removexattr(at("x").c_str(), "user.big"), 0);
  EXPECT_EQ(::getxattr(at("x").c_str(), "user.big", nullptr, 0), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_F(Operations, ALargeDirectoryIsListedOnceAndSeekdirGoesBack) {
  ASSERT_EQ(::mkdir(at("many").c_str(), 0755), 0);
  constexpr int kCount = 3000;
  for (int i = 0; i < kCount; ++i) WriteFile(below("many/entry-" + std::to_string(i)), "");
  DIR* directory = ::opendir(at("many").c_str());
  ASSERT_NE(directory, nullptr);
  std::set<std::string> names;
  std::string after_half;
  long half = 0;
  for (int i = 0; dirent* entry = ::readdir(directory); ++i) {
    EXPECT_TRUE(names.insert(entry->d_name).second) << entry->d_name;
    if (i == kCount / 2) half = ::telldir(directory);
    if (i == kCount / 2 + 1) after_half = entry->d_name;
  }
  EXPECT_EQ(names.size(), kCount + 2u);
  ::seekdir(directory, half);
  EXPECT_EQ(::readdir(directory)->d_name, after_half);
  ::closedir(directory);
}

TEST_F(Operations, TheSpaceIsThatOfTheDirectory) {
  struct statvfs mounted, local;
  ASSERT_EQ(::statvfs(at("").c_str(), &mounted), 0);
  ASSERT_EQ(::statvfs(below("").c_str(), &local), 0);
  EXPECT_EQ(mounted.f_blocks, local.f_blocks);
  EXPECT_EQ(mounted.f_namemax, local.f_namemax);
}

TEST_F(Operations, PermissionsAreThoseOfTheCallerWithHisGroups) {
  ASSERT_EQ(::mkdir(at("p").c_str(), 0), 0);
  ASSERT_EQ(::chmod(at("p").c_str(), 0770), 0);
  ASSERT_EQ(::chown(at("p").c_str(), 0, 4242), 0);
  const std::string file = at("p/f");
  const auto create = [&] { return ::open(file.c_str(), O_CREAT | O_WRONLY, 0600) < 0 ? -1 : 0; };
  EXPECT_EQ(As(1000, 1000, {}, create), EACCES);
  EXPECT_EQ(As(1000, 1000, {5, 4242}, create), 0);
  EXPECT_EQ(Stat(below("p/f")).st_uid, 1000u);
  EXPECT_EQ(As(1001, 1001, {4242}, [&] { return ::open(file.c_str(), O_RDONLY) < 0 ? -1 : 0; }),
            EACCES);
}

TEST_F(Operations, AWriteByAnotherUserClearsTheSuidAndSgidBits) {
  WriteFile(at("suid"), "x");
  ASSERT_EQ(::chmod(at("suid").c_str(), 06777), 0);
  EXPECT_EQ(As(1000, 1000, {},
               [&] {
                 const int fd = ::open(at("suid").c_str(), O_WRONLY);
                 return ::write(fd, "y", 1) == 1 ? 0 : -1;
               }),
            0);
  EXPECT_EQ(Stat(below("suid")).st_mode & 07777, 0777u);
  EXPECT_EQ(Stat(at("suid")).st_mode & 07777, 0777u);
}

TEST_F(Operations, FcntlLocksKeepProcessesApartAndGoWithTheirOwner) {
  UniqueFd fd = Open("l", O_CREAT | O_RDWR);
  struct flock lock {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10
  };
  ASSERT_EQ(::fcntl(fd.get(), F_SETLK, &lock), 0);
  const auto try_lock = [&] {
    UniqueFd other = Open("l", O_RDWR);
    struct flock wanted {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 15, .l_len = 1
    };
    return ::fcntl(other.get(), F_SETLK, &wanted);
  };
  EXPECT_EQ(As(0, 0, {}, try_lock), EAGAIN);
  { UniqueFd closing = Open("l", O_RDONLY); }  // any close of the file by its owner drops them
  EXPECT_EQ(As(0, 0, {}, try_lock), 0);
}

TEST_F(Operations, AnOpenFileDescriptionsLockGoesWithItsLastClose) {
  UniqueFd one = Open("ofd", O_CREAT | O_RDWR), two = Open("ofd", O_RDWR);
  struct flock lock {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0
  };
  ASSERT_EQ(::fcntl(one.get(), F_OFD_SETLK, &lock), 0);
  EXPECT_EQ(::fcntl(two.get(), F_OFD_SETLK, &lock), -1);
  EXPECT_EQ(errno, EAGAIN);
  one.reset();
  EXPECT_EQ(::fcntl(two.get(), F_OFD_SETLK, &lock), 0);
}

TEST_F(Operations, FlockIsHeldByTheOpenFile) {
  UniqueFd one = Open("fl", O_CREAT | O_RDWR), two = Open("fl", O_RDWR);
  ASSERT_EQ(::flock(one.get(), LOCK_EX), 0);
  EXPECT_EQ(::flock(two.get(), LOCK_SH | LOCK_NB), -1);
  EXPECT_EQ(errno, EAGAIN);
  ASSERT_EQ(::flock(one.get(), LOCK_UN), 0);
  EXPECT_EQ(::flock(two.get(), LOCK_EX | LOCK_NB), 0);
  two.reset();
  EXPECT_EQ(::flock(one.get(), LOCK_SH | LOCK_NB), 0);
}

TEST_F(Operations, AWaitingLockIsGivenUpOnASignal) {
  UniqueFd fd = Open("w", O_CREAT | O_RDWR);
  struct flock lock {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0
  };
  ASSERT_EQ(::fcntl(fd.get(), F_SETLK, &lock), 0);
  EXPECT_EQ(As(0, 0, {},
               [&] {
                 struct sigaction action {};
                 action.sa_handler = [](int) {};
                 ::sigaction(SIGALRM, &action, nullptr);
                 // Again and again, as the first may come before the wait.
                 const itimerval soon{{0, 20'000}, {0, 20'000}};
                 ::setitimer(ITIMER_REAL, &soon, nullptr);
                 struct flock wanted {
                   .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0
                 };
                 return ::fcntl(fd.get(), F_SETLKW, &wanted);
               }),
            EINTR);
}

TEST_F(Operations, AKilledWaiterLeavesNoLockAndNoProcessBehind) {
  UniqueFd fd = Open("k", O_CREAT | O_RDWR);
  ASSERT_EQ(::flock(fd.get(), LOCK_EX), 0);
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const int other = ::open(at("k").c_str(), O_RDWR);
    [[maybe_unused]] ssize_t told = ::write(ready[1], "r", 1);
    ::flock(other, LOCK_EX);
    ::_exit(0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  ::close(ready[0]);
  ::close(ready[1]);
  ASSERT_EQ(::flock(fd.get(), LOCK_UN), 0);
  UniqueFd again = Open("k", O_RDWR);
  EXPECT_EQ(::flock(again.get(), LOCK_EX), 0);
}

TEST_F(Operations, SyncingAFileADirectoryAndTheFileSystemWorks) {
  UniqueFd file = Open("sync", O_CREAT | O_RDWR), directory = Open("", O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(::fsync(file.get()), 0);
  EXPECT_EQ(::fdatasync(file.get()), 0);
  EXPECT_EQ(::fsync(directory.get()), 0);
  EXPECT_EQ(::syncfs(directory.get()), 0);
}

TEST_F(Operations, AFullDiskIsReportedAsSuch) {
  UniqueFd fd = Open("full", O_CREAT | O_RDWR);
  EXPECT_EQ(::fallocate(fd.get(), 0, 0, off_t{1} << 50), -1);
  EXPECT_EQ(errno, ENOSPC);
}

}  // namespace
}  // namespace rdmafs::fuse
