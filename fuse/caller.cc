#include "fuse/caller.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "transport/base/unique_fd.h"

namespace rdmafs::fuse {

namespace {

constexpr uint64_t kExiting = 4;  // PF_EXITING of the kernel's include/linux/sched.h

// The beginning of /proc/TID/NAME, as far as it fits; empty when it is not there.
std::string_view ReadProc(pid_t tid, const char* name, absl::Span<char> text) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/%s", static_cast<int>(tid), name);
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return {};
  const ssize_t n = ::read(fd.get(), text.data(), text.size());
  return n <= 0 ? std::string_view() : std::string_view(text.data(), static_cast<size_t>(n));
}

// The hexadecimal set of signals in the line "NAME:\t..." of a status.
uint64_t SignalSet(std::string_view status, std::string_view name) {
  const size_t line = status.find(name);
  if (line == std::string_view::npos) return 0;
  status.remove_prefix(line + name.size());
  uint64_t set = 0;
  std::from_chars(status.data(), status.data() + status.size(), set, 16);
  return set;
}

}  // namespace

bool WantsToLeave(pid_t tid) {
  char text[4096];
  const std::string_view status = ReadProc(tid, "status", absl::MakeSpan(text));
  const uint64_t pending = SignalSet(status, "\nSigPnd:\t") | SignalSet(status, "\nShdPnd:\t");
  if ((pending & ~SignalSet(status, "\nSigBlk:\t")) != 0) return true;
  // Seven fields stand between the program's name, in parentheses, and the flags (proc(5)).
  std::string_view stat = ReadProc(tid, "stat", absl::MakeSpan(text));
  stat.remove_prefix(std::min(stat.rfind(')'), stat.size()));
  for (int field = 0; field < 7; ++field) {
    stat.remove_prefix(std::min(stat.find(' ', 1), stat.size()));
  }
  uint64_t flags = 0;
  if (!stat.empty()) std::from_chars(stat.data() + 1, stat.data() + stat.size(), flags);
  return (flags & kExiting) != 0;
}

size_t ReadGroups(pid_t tid, absl::Span<uint32_t> groups) {
  // The line stands among the first ten; 256 groups of up to 10 digits fit behind it.
  char text[4096];
  std::string_view status = ReadProc(tid, "status", absl::MakeSpan(text));
  const size_t line = status.find("\nGroups:");
  if (line == std::string_view::npos) return 0;
  status.remove_prefix(line + sizeof "\nGroups:" - 1);

  size_t count = 0;
  const char* at = status.data();
  const char* const end = at + status.size();
  while (count < groups.size()) {
    while (at < end && (*at == ' ' || *at == '\t')) ++at;
    const auto [next, error] = std::from_chars(at, end, groups[count]);
    if (error != std::errc() || next == end) break;  // a number at the very end may be cut off
    at = next;
    ++count;
  }
  return count;
}

wire::Caller GroupCache::Find(const fuse_in_header& header, uint32_t umask, Nanoseconds now) {
  wire::Caller caller = CallerWithoutGroups(header);
  caller.umask = umask;
  if (header.uid == 0 || header.pid == 0) return caller;
  Entry& entry = entries_[header.pid % kEntryCount];
  if (entry.tid != header.pid || entry.uid != header.uid || entry.gid != header.gid ||
      now >= entry.expires) {
    entry.count = reader_(static_cast<pid_t>(header.pid), absl::MakeSpan(entry.groups));
    entry.tid = header.pid;
    entry.uid = header.uid;
    entry.gid = header.gid;
    entry.expires = now + kLifetime;
  }
  caller.groups = absl::MakeConstSpan(entry.groups.data(), entry.count);
  return caller;
}

}  // namespace rdmafs::fuse
