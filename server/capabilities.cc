#include "server/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace rdmafs::server {
namespace {

constexpr uint64_t Bit(int capability) { return uint64_t{1} << capability; }

// For callers that are root on an export with no_root_squash; and for handles and other callers'
// ids.
constexpr uint64_t kForFiles = Bit(CAP_CHOWN) | Bit(CAP_DAC_OVERRIDE) | Bit(CAP_DAC_READ_SEARCH) |
                               Bit(CAP_FOWNER) | Bit(CAP_FSETID) | Bit(CAP_MKNOD) |
                               Bit(CAP_SETFCAP) |       // security.capability
                               Bit(CAP_SYS_ADMIN) |     // trusted.*
                               Bit(CAP_SYS_RESOURCE) |  // root's reserved blocks and quota
                               Bit(CAP_SETUID) | Bit(CAP_SETGID);
// LeakSanitizer stops the other threads with ptrace(2), whoever they act as.
#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kForTools = Bit(CAP_SYS_PTRACE);
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr uint64_t kForTools = Bit(CAP_SYS_PTRACE);
#else
constexpr uint64_t kForTools = 0;
#endif
#else
constexpr uint64_t kForTools = 0;
#endif

absl::Status Failed(const char* what) { return absl::ErrnoToStatus(errno, what); }

// What no program that is started later can have. Needs CAP_SETPCAP; who has not that gives up the
// rest.
absl::Status LimitBoundingSet(uint64_t kept) {
  for (int capability = 0; capability < 64; ++capability) {
    const int present = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (present < 0) return absl::OkStatus();  // beyond those that the kernel knows
    if (present == 0 || (kept & Bit(capability)) != 0) continue;
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return Failed("PR_CAPBSET_DROP");
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t NeededCapabilities(const CapabilityNeeds& needs) {
  return kForFiles | kForTools | (needs.low_port ? Bit(CAP_NET_BIND_SERVICE) : 0) |
         (needs.locked_memory ? Bit(CAP_IPC_LOCK) : 0);
}

absl::Status DropUnneededCapabilities(const CapabilityNeeds& needs) {
  const uint64_t kept = NeededCapabilities(needs);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (syscall(SYS_capget, &header, data) != 0) return Failed("capget");
  if ((data[0].effective & Bit(CAP_SETPCAP)) != 0) {
    if (absl::Status status = LimitBoundingSet(kept); !status.ok()) return status;
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    return Failed("PR_CAP_AMBIENT");
  for (int half = 0; half < 2; ++half) {
    const auto mask = static_cast<uint32_t>(kept >> (32 * half));
    data[half].permitted &= mask;
    data[half].effective &= mask;
    data[half].inheritable = 0;
  }
  if (syscall(SYS_capset, &header, data) != 0) return Failed("capset");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Failed("PR_SET_NO_NEW_PRIVS");
  return absl::OkStatus();
}

}  // namespace rdmafs::server
