// On whose behalf the kernel asks: uid, gid and supplementary groups of a request.
#pragma once

#include <sys/types.h>

#include <array>

#include "absl/types/span.h"
#include "fuse/abi.h"
#include "transport/wire/types.h"

namespace rdmafs::fuse {

// The supplementary groups of thread `tid` as /proc tells them, at most groups.size(). Returns how many:
// 0 when there are none, or the thread is not (or not in our pid namespace) there. Reads /proc: some
// microseconds, no waiting.
size_t ReadGroups(pid_t tid, absl::Span<uint32_t> groups);

// A Caller with its groups; stands as long as this does. The kernel's requests do not carry groups, so
// callers other than root have them looked up.
class CallerWithGroups {
 public:
  explicit CallerWithGroups(const fuse_in_header& header, uint32_t umask = 0) {
    caller_.uid = header.uid;
    caller_.gid = header.gid;
    caller_.pid = header.pid;
    caller_.umask = umask;
    if (header.uid != 0 && header.pid != 0) {
      const size_t count = ReadGroups(static_cast<pid_t>(header.pid), absl::MakeSpan(groups_));
      caller_.groups = absl::MakeConstSpan(groups_.data(), count);
    }
  }
  CallerWithGroups(const CallerWithGroups&) = delete;
  CallerWithGroups& operator=(const CallerWithGroups&) = delete;

  const wire::Caller& operator*() const { return caller_; }

 private:
  wire::Caller caller_;
  std::array<uint32_t, wire::kMaxGroups> groups_;
};

// For what asks for no permission beyond the handle's or the open file's.
inline wire::Caller CallerWithoutGroups(const fuse_in_header& header) {
  wire::Caller caller;
  caller.uid = header.uid;
  caller.gid = header.gid;
  caller.pid = header.pid;
  return caller;
}

}  // namespace rdmafs::fuse
