#include "transport/base/log.h"

#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace rdmafs {
namespace {

struct LogState {
  const char* program = "rdmafs";
  LogTarget target = LogTarget::kStandardError;
  bool journal_prefix = false;
  std::atomic<int> most_verbose{static_cast<int>(LogLevel::kNotice)};
};

// A process has one log; syslog(3) itself is process-wide.
LogState& State() {
  static LogState state;
  return state;
}

// Whether systemd has connected it to its journal: the variable alone is inherited by whom it is
// not for (systemd.exec(5)).
bool IsJournal(int fd) {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat status;
  return stream != nullptr && ::fstat(fd, &status) == 0 &&
         stream == absl::StrCat(status.st_dev, ":", status.st_ino);
}

}  // namespace

void OpenLog(const char* program, LogTarget target, LogLevel most_verbose) {
  LogState& state = State();
  state.program = program;
  state.target = target;
  state.journal_prefix = IsJournal(STDERR_FILENO);
  state.most_verbose.store(static_cast<int>(most_verbose), std::memory_order_relaxed);
  if (target == LogTarget::kSyslog) openlog(program, LOG_PID, LOG_DAEMON);
}

bool LogEnabled(LogLevel level) {
  return static_cast<int>(level) <= State().most_verbose.load(std::memory_order_relaxed);
}

void LogLine(LogLevel level, std::string_view line) {
  LogState& state = State();
  std::string text(line);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (state.target == LogTarget::kSyslog) {
    syslog(static_cast<int>(level), "%s", text.c_str());
    return;
  }
  std::string out = state.journal_prefix
                        ? absl::StrCat("<", static_cast<int>(level), ">", text, "\n")
                        : absl::StrCat(state.program, ": ", text, "\n");
  // One write, so that lines of several threads do not mix; a full or closed log is not our
  // failure.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, out.data(), out.size());
}

}  // namespace rdmafs
