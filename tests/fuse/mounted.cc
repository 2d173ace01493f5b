#include "tests/fuse/mounted.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace rdmafs::fuse {
namespace {

std::string MakeDirectory() {
  char path[] = "/dev/shm/rdmafs-mount-XXXXXX";
  EXPECT_NE(::mkdtemp(path), nullptr);
  ::chmod(path, 0755);
  return path;
}

// The child that the program left behind when it went to the background.
pid_t FindChild(const std::string& mount_point) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    const std::string line{std::istreambuf_iterator<char>(file), {}};
    if (line.find(mount_point) == std::string::npos) continue;
    const pid_t pid = std::stoi(name);
    if (pid != ::getpid()) return pid;
  }
  return -1;
}

}  // namespace

Ran RunProgram(const std::vector<std::string>& arguments) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  int status = 0;
  ::waitpid(child, &status, 0);
  // What went to the background has let go of the pipe, so this ends.
  std::string error;
  char text[512];
  for (ssize_t n; (n = ::read(ends[0], text, sizeof text)) > 0;)
    error.append(text, static_cast<size_t>(n));
  ::close(ends[0]);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), error};
}

Mounted::Mounted(const std::string& options)
    : directory_(MakeDirectory()), mount_point_(MakeDirectory()) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::vector<std::string> arguments = {RDMAFS_LOCAL, "local:" + directory_, mount_point_};
  if (!options.empty()) arguments.insert(arguments.end(), {"-o", options});
  const Ran ran = RunProgram(arguments);
  EXPECT_EQ(ran.status, 0) << ran.error;
  process_ = FindChild(mount_point_);
  EXPECT_GT(process_, 0);
}

Mounted::~Mounted() {
  if (IsMounted() && Unmount() != 0 && Unmount(MNT_DETACH) != 0) {
    ADD_FAILURE() << "still mounted: " << mount_point_;
  }
  if (process_ > 0 && WaitForExit() != 0) ADD_FAILURE() << "the mount program did not end well";
  if (!IsMounted()) std::filesystem::remove_all(mount_point_);
  std::filesystem::remove_all(directory_);
}

bool Mounted::IsMounted() const {
  std::ifstream mounts("/proc/mounts");
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(" " + mount_point_ + " ") != std::string::npos) return true;
  }
  return false;
}

int Mounted::Unmount(int flags) { return ::umount2(mount_point_.c_str(), flags) == 0 ? 0 : errno; }

int Mounted::WaitForExit() {
  if (process_ <= 0) return 0;
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, process_, 0));
  pollfd ended{pidfd, POLLIN, 0};
  const bool in_time = ::poll(&ended, 1, 10'000) == 1;
  ::close(pidfd);
  if (!in_time) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
    return -1;
  }
  int status = 0;
  ::waitpid(process_, &status, 0);
  process_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace rdmafs::fuse
