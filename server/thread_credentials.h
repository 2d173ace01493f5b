// ThreadCredentials: lets one thread do a file system call as the caller of a request.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "server/store.h"
#include "transport/base/errno.h"

namespace rdmafs {

// The file system ids, groups, umask and effective capabilities of one thread (glibc's setters
// would change all threads). Used by its own thread only. What was assumed stays: the same identity
// again costs no system call, and a worker that does something of the server's own calls Restore()
// before. A thread that is started by this one inherits what is assumed.
//
// Capabilities are set explicitly with every change between root and others, whether or not
// SECBIT_NO_SETUID_FIXUP is set: the kernel's own fix-up (capabilities(7)) takes CAP_DAC_OVERRIDE
// and the like away from a thread with fsuid != 0, but leaves CAP_SYS_RESOURCE (quota and reserved
// blocks would not count), CAP_SYS_ADMIN (trusted.* would be open) and CAP_SETFCAP.
class ThreadCredentials {
 public:
  // What happens to the suid and sgid bits of a file that is written or truncated.
  enum class SetIdBits {
    kAsCaller,  // cleared unless the caller is root
    kClear,     // cleared, even for root
    kKeep,      // kept: the client's kernel has seen to them
  };

  static ThreadCredentials& OfThisThread();

  // EPERM when the ids cannot be had; the thread must not go on with the call then. A server that
  // may not switch serves as the one user that it runs as, and root without CAP_SETUID serves root
  // only.
  Errno Assume(const Identity& identity, SetIdBits bits = SetIdBits::kAsCaller);
  // For threads that write data on everyone's behalf: quota and reserved blocks count, suid bits
  // stay, all else is allowed. New files belong to nobody (65534).
  Errno AssumeDataWriter();
  // Whether it is known to act as one whom trusted.* attributes are shown (CAP_SYS_ADMIN).
  bool SeesTrusted() const;
  // The server's own ids, groups and capabilities; umask 022.
  Errno Restore();

  // While it lives, the thread may use open_by_handle_at(2) whoever it acts as.
  class ReadSearchScope {
   public:
    ReadSearchScope();
    ~ReadSearchScope();
    ReadSearchScope(const ReadSearchScope&) = delete;
    ReadSearchScope& operator=(const ReadSearchScope&) = delete;

   private:
    bool raised_ = false;
  };
  // While it lives, the thread acts as the server; then as whom it was before.
  class ServerScope {
   public:
    ServerScope();
    ~ServerScope();
    ServerScope(const ServerScope&) = delete;
    ServerScope& operator=(const ServerScope&) = delete;

   private:
    bool known_;
    uint32_t uid_, gid_;
    uint64_t effective_;
    std::vector<uint32_t> groups_;
  };

 private:
  struct Server;  // what the process started with
  static const Server& TheServer();

  Errno SetUmask(uint32_t mask);
  Errno Become(uint32_t uid, uint32_t gid, absl::Span<const uint32_t> groups, uint64_t effective);
  Errno SetEffective(uint64_t effective);

  bool known_ = false;  // whether the fields below are the thread's
  bool own_umask_ = false;
  uint32_t umask_ = 0;
  uint32_t uid_ = 0, gid_ = 0;
  uint64_t effective_ = 0;
  std::vector<uint32_t> groups_;
};

}  // namespace rdmafs
