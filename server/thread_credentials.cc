#include "server/thread_credentials.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace rdmafs {
namespace {

constexpr uint64_t Bit(int capability) { return uint64_t{1} << capability; }

constexpr uint32_t kNobody = 65534;
constexpr uint32_t kInvalidId = ~uint32_t{0};
constexpr uint32_t kServerUmask = 022;
// A thread that acts for others keeps what it needs to act for someone else next. Neither of the
// two counts in any permission check of a file system.
constexpr uint64_t kSwitching = Bit(CAP_SETUID) | Bit(CAP_SETGID);

struct Capabilities {
  uint64_t effective = 0, permitted = 0, inheritable = 0;
};

Capabilities Get() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (syscall(SYS_capget, &header, data) != 0) return {};
  auto join = [](uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; };
  return {join(data[0].effective, data[1].effective), join(data[0].permitted, data[1].permitted),
          join(data[0].inheritable, data[1].inheritable)};
}

}  // namespace

struct ThreadCredentials::Server {
  Capabilities capabilities = Get();
  uint32_t uid = geteuid(), gid = getegid();
  std::vector<uint32_t> groups;
  bool may_switch = (capabilities.effective & kSwitching) == kSwitching;

  Server() {
    groups.resize(std::max(0, getgroups(0, nullptr)));
    int count = getgroups(static_cast<int>(groups.size()), groups.data());
    groups.resize(std::max(0, count));
  }
};

const ThreadCredentials::Server& ThreadCredentials::TheServer() {
  static const Server server;
  return server;
}

ThreadCredentials& ThreadCredentials::OfThisThread() {
  static thread_local ThreadCredentials credentials;
  return credentials;
}

Errno ThreadCredentials::Assume(const Identity& identity, SetIdBits bits) {
  if (Errno error = SetUmask(identity.umask & 0777); !error.ok()) return error;
  const Server& server = TheServer();
  if (!server.may_switch) return server.uid == 0 && identity.uid != 0 ? Errno(EPERM) : kOk;
  uint64_t effective = identity.uid == 0 ? server.capabilities.effective : kSwitching;
  if (bits == SetIdBits::kClear) effective &= ~Bit(CAP_FSETID);
  if (bits == SetIdBits::kKeep) effective |= Bit(CAP_FSETID) & server.capabilities.permitted;
  return Become(identity.uid, identity.gid, identity.groups, effective);
}

Errno ThreadCredentials::AssumeDataWriter() {
  const Server& server = TheServer();
  if (!server.may_switch) return kOk;
  return Become(kNobody, kNobody, {}, server.capabilities.effective & ~Bit(CAP_SYS_RESOURCE));
}

Errno ThreadCredentials::Restore() {
  if (Errno error = SetUmask(kServerUmask); !error.ok()) return error;
  const Server& server = TheServer();
  if (!server.may_switch) return kOk;
  return Become(server.uid, server.gid, server.groups, server.capabilities.effective);
}

bool ThreadCredentials::SeesTrusted() const {
  return known_ && (effective_ & Bit(CAP_SYS_ADMIN)) != 0;
}

Errno ThreadCredentials::SetUmask(uint32_t mask) {
  if (!own_umask_) {
    // umask(2) belongs to the fs_struct, which threads share until told otherwise.
    if (unshare(CLONE_FS) != 0) return Errno(errno);
    own_umask_ = true;
    umask_ = ~mask;
  }
  if (umask_ != mask) umask(umask_ = mask);
  return kOk;
}

Errno ThreadCredentials::Become(uint32_t uid, uint32_t gid, absl::Span<const uint32_t> groups,
                                uint64_t effective) {
  if (uid == kInvalidId || gid == kInvalidId) return Errno(EPERM);
  const bool same_groups =
      known_ && std::equal(groups.begin(), groups.end(), groups_.begin(), groups_.end());
  const bool same_ids = known_ && uid == uid_ && gid == gid_;
  if (same_groups && same_ids && effective == effective_) return kOk;

  const bool was_root = uid_ == 0, was_known = known_;
  known_ = false;
  if (!same_groups) {
    if (syscall(SYS_setgroups, groups.size(), groups.data()) != 0) return Errno(EPERM);
    groups_.assign(groups.begin(), groups.end());
  }
  if (!same_ids) {
    syscall(SYS_setfsgid, gid);
    syscall(SYS_setfsuid, uid);
    // They report no failure, such as an id that the user namespace does not map; -1 only asks.
    if (static_cast<uint32_t>(syscall(SYS_setfsgid, kInvalidId)) != gid ||
        static_cast<uint32_t>(syscall(SYS_setfsuid, kInvalidId)) != uid) {
      return Errno(EPERM);
    }
  }
  const bool fixed_up = !was_known || was_root != (uid == 0);
  if (fixed_up || effective != effective_) {
    if (Errno error = SetEffective(effective); !error.ok()) return error;
  }
  uid_ = uid;
  gid_ = gid;
  effective_ = effective;
  known_ = true;
  return kOk;
}

Errno ThreadCredentials::SetEffective(uint64_t effective) {
  const Capabilities& server = TheServer().capabilities;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (int half = 0; half < 2; ++half) {
    data[half].effective = static_cast<uint32_t>(effective >> (32 * half));
    data[half].permitted = static_cast<uint32_t>(server.permitted >> (32 * half));
    data[half].inheritable = static_cast<uint32_t>(server.inheritable >> (32 * half));
  }
  return syscall(SYS_capset, &header, data) == 0 ? kOk : Errno(EPERM);
}

ThreadCredentials::ReadSearchScope::ReadSearchScope() {
  ThreadCredentials& thread = OfThisThread();
  const uint64_t wanted = Bit(CAP_DAC_READ_SEARCH);
  if (!thread.known_ || (thread.effective_ & wanted) != 0) return;
  if ((TheServer().capabilities.permitted & wanted) == 0) return;
  raised_ = thread.SetEffective(thread.effective_ | wanted).ok();
}

ThreadCredentials::ReadSearchScope::~ReadSearchScope() {
  if (!raised_) return;
  ThreadCredentials& thread = OfThisThread();
  // Were it to fail, the thread must not be taken for what it was.
  if (!thread.SetEffective(thread.effective_).ok()) thread.known_ = false;
}

ThreadCredentials::ServerScope::ServerScope() {
  ThreadCredentials& thread = OfThisThread();
  known_ = thread.known_;
  if (!known_) return;
  uid_ = thread.uid_;
  gid_ = thread.gid_;
  effective_ = thread.effective_;
  groups_ = thread.groups_;
  const Server& server = TheServer();
  (void)thread.Become(server.uid, server.gid, server.groups, server.capabilities.effective);
}

ThreadCredentials::ServerScope::~ServerScope() {
  if (!known_) return;
  // It had these before, so they can be had; what runs next in this call must not run as the
  // server.
  CHECK(OfThisThread().Become(uid_, gid_, groups_, effective_).ok());
}

}  // namespace rdmafs
