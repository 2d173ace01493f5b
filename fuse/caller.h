// On whose behalf the kernel asks: the supplementary groups, which its requests do not carry.
#pragma once

#include <sys/types.h>

#include <array>
#include <functional>

#include "absl/types/span.h"
#include "fuse/abi.h"
#include "transport/base/clock.h"
#include "transport/wire/types.h"

namespace rdmafs::fuse {

// The supplementary groups of thread `tid` as /proc tells them, at most groups.size(). Returns how
// many: 0 when there are none, or the thread is not (or not in our pid namespace) there. Reads
// /proc, which takes some 10 microseconds; never waits.
size_t ReadGroups(pid_t tid, absl::Span<uint32_t> groups);

// Whether thread `tid` has a signal to take, or is at its end, as /proc tells: it does not want to
// wait for an answer any more. False when it is not (or not in our pid namespace) there. Reads
// /proc twice.
bool WantsToLeave(pid_t tid);

// Remembers the groups of threads for a moment, so that a run of requests costs one look into
// /proc. The moment is short: the kernel checks permissions with the true groups before it asks us,
// so a list that is 10 ms old never opens what is closed. Owned by one shard thread.
class GroupCache {
 public:
  using Reader = std::function<size_t(pid_t tid, absl::Span<uint32_t> groups)>;
  static constexpr Nanoseconds kLifetime = 10 * kMillisecond;

  explicit GroupCache(Reader reader = ReadGroups) : reader_(std::move(reader)) {}

  // The caller of a request that came at `now`. Its groups are a view that stands until the next
  // call. Root has none looked up: it needs none.
  wire::Caller Find(const fuse_in_header& header, uint32_t umask, Nanoseconds now);

 private:
  static constexpr size_t kEntryCount = 32;
  struct Entry {
    uint32_t tid = 0, uid = 0, gid = 0;
    Nanoseconds expires = 0;
    size_t count = 0;
    std::array<uint32_t, wire::kMaxGroups> groups;
  };
  const Reader reader_;
  std::array<Entry, kEntryCount> entries_;
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
