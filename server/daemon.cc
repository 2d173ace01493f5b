#include "server/daemon.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace rdmafs::server {
namespace {

[[noreturn]] void WaitForChild(int reading) {
  char ready = 0;
  ssize_t n;
  do {
    n = read(reading, &ready, 1);
  } while (n < 0 && errno == EINTR);
  // The child has written why it did not start, before it ended.
  _exit(n == 1 ? 0 : 1);
}

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

}  // namespace

Daemon Daemon::Fork() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) Fail("rdmafsd: pipe2");
  Daemon daemon;
  UniqueFd reading(ends[0]);
  daemon.parent_.reset(ends[1]);
  const pid_t child = fork();
  if (child < 0) Fail("rdmafsd: fork");
  if (child > 0) {
    daemon.parent_.reset();
    WaitForChild(reading.get());
  }
  setsid();
  if (chdir("/") != 0) Fail("rdmafsd: chdir /");
  return daemon;
}

void Daemon::Ready() {
  if (!parent_.valid()) return;
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (null.valid()) {
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.get(), fd);
  }
  [[maybe_unused]] ssize_t n = write(parent_.get(), "r", 1);
  parent_.reset();
}

}  // namespace rdmafs::server
