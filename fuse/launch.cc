#include "fuse/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace rdmafs::fuse {
namespace {

// The first byte of a verdict.
constexpr char kGood = '+';
constexpr char kBad = '-';

void PrintFailure(std::string_view line) {
  std::fprintf(stderr, "rdmafs: %.*s\n", static_cast<int>(line.size()), line.data());
}

// What came through the pipe until it was closed or the time was up.
std::string ReadVerdict(int fd, Nanoseconds patience) {
  const MonotonicClock clock;
  const Nanoseconds deadline = clock.Now() + patience;
  std::string verdict;
  char text[512];
  while (true) {
    pollfd readable{fd, POLLIN, 0};
    const Nanoseconds left = deadline - clock.Now();
    if (left <= 0) return verdict;
    const int ready = ::poll(&readable, 1, static_cast<int>(left / kMillisecond) + 1);
    if (ready < 0 && errno == EINTR) continue;
    const ssize_t n = ready > 0 ? ::read(fd, text, sizeof text) : -1;
    if (n <= 0) return verdict;
    verdict.append(text, static_cast<size_t>(n));
    if (verdict[0] == kGood) return verdict;
  }
}

[[noreturn]] void WaitForVerdict(int fd, pid_t child, Nanoseconds patience) {
  const std::string verdict = ReadVerdict(fd, patience);
  if (!verdict.empty() && verdict[0] == kGood) ::_exit(0);
  if (!verdict.empty()) {
    PrintFailure(std::string_view(verdict).substr(1));
  } else if (::waitpid(child, nullptr, WNOHANG) == child) {
    PrintFailure("the mount process ended unexpectedly");
  } else {
    ::kill(child, SIGTERM);
    PrintFailure("no answer from the mount process in time; given up");
  }
  ::_exit(1);
}

}  // namespace

Launch Launch::Begin(bool foreground, Nanoseconds patience) {
  Launch launch;
  launch.foreground_ = foreground;
  ::signal(SIGPIPE, SIG_IGN);
  if (foreground) return launch;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    PrintFailure(std::strerror(errno));
    ::_exit(1);
  }
  const pid_t child = ::fork();
  if (child < 0) {
    PrintFailure(std::strerror(errno));
    ::_exit(1);
  }
  if (child != 0) {
    ::close(ends[1]);
    WaitForVerdict(ends[0], child, patience);
  }
  ::close(ends[0]);
  ::setsid();
  launch.pipe_.reset(ends[1]);
  return launch;
}

bool Launch::Report(const absl::Status& verdict) {
  if (foreground_) {
    if (!verdict.ok()) PrintFailure(std::string(verdict.message()));
    return true;
  }
  std::string text(1, verdict.ok() ? kGood : kBad);
  if (!verdict.ok()) text.append(verdict.message().data(), verdict.message().size());
  const bool told =
      ::write(pipe_.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  pipe_.reset();
  if (!verdict.ok() || !told) return told;
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), fd);
  return ::chdir("/") == 0;
}

}  // namespace rdmafs::fuse
