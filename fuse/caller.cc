#include "fuse/caller.h"

#include <fcntl.h>

#include <charconv>
#include <cstdio>
#include <string_view>

#include "transport/base/unique_fd.h"

namespace rdmafs::fuse {

size_t ReadGroups(pid_t tid, absl::Span<uint32_t> groups) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/status", static_cast<int>(tid));
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return 0;
  // The line stands among the first ten; 256 groups of up to 10 digits fit behind it.
  char text[4096];
  const ssize_t n = ::read(fd.get(), text, sizeof text);
  if (n <= 0) return 0;
  std::string_view status(text, static_cast<size_t>(n));
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
