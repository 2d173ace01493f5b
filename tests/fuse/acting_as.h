// Acting as a caller: this thread's fsuid, fsgid and groups, for the double's system calls.
#pragma once

#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "transport/wire/types.h"

namespace rdmafs {

// While it lives, the thread's file accesses are the caller's. By system call: the C library's
// would change all threads.
class ActingAs {
 public:
  explicit ActingAs(const wire::Caller& caller) {
    ::syscall(SYS_setgroups, caller.groups.size(), caller.groups.data());
    ::setfsgid(caller.gid);
    ::setfsuid(caller.uid);
  }
  ~ActingAs() {
    const int error = errno;
    ::setfsuid(0);
    ::setfsgid(0);
    errno = error;
  }
};

// What a write or chown does to the bits of a file that is not its owner's to keep.
inline void KillSuidGid(const char* path) {
  struct stat status;
  if (::stat(path, &status) != 0 || !S_ISREG(status.st_mode)) return;
  mode_t mode = status.st_mode & ~static_cast<mode_t>(S_ISUID);
  if ((mode & S_IXGRP) != 0) mode &= ~static_cast<mode_t>(S_ISGID);
  if (mode != status.st_mode) ::chmod(path, mode & 07777);
}

}  // namespace rdmafs
