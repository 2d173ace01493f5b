#include "transport/rdma/memlock.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "transport/memory/memory_region_cache.h"

namespace rdmafs::rdma {
namespace {

// Completion queues, work queues and what else the device's driver pins.
constexpr size_t kDriverBytes = size_t{4} << 20;

rlim_t Limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return RLIM_INFINITY;
  return limit.rlim_cur;
}

bool MayIgnoreLimit() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[2] = {};
  if (syscall(SYS_capget, &header, sets) != 0) return false;
  return (sets[CAP_IPC_LOCK / 32].effective & (1u << (CAP_IPC_LOCK % 32))) != 0;
}

}  // namespace

size_t MemlockNeeded(size_t arena_bytes) { return arena_bytes * kMemoryAccessCount + kDriverBytes; }

bool MemlockSuffices(size_t arena_bytes) {
  const rlim_t limit = Limit();
  return limit == RLIM_INFINITY || limit >= MemlockNeeded(arena_bytes) || MayIgnoreLimit();
}

std::string MemlockAdvice(size_t arena_bytes) {
  const rlim_t limit = Limit();
  const std::string now = limit == RLIM_INFINITY ? "unlimited" : absl::StrCat(limit / 1024, " kB");
  return absl::StrCat(
      "RLIMIT_MEMLOCK is ", now, ", registered memory needs ", MemlockNeeded(arena_bytes) / 1024,
      " kB: set \"* - memlock unlimited\" in /etc/security/limits.conf, "
      "LimitMEMLOCK=infinity in the systemd unit, or ulimit -l unlimited in the shell");
}

}  // namespace rdmafs::rdma
