// What the parts of the posix store share around system calls: errno, names, statx, /proc/self/fd.
#pragma once

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "transport/base/errno.h"
#include "transport/base/unique_fd.h"
#include "transport/wire/types.h"

namespace rdmafs {

inline Errno LastErrno() { return Errno(errno); }
// For a system call that returns 0 or -1.
inline Errno ToErrno(int result) { return result == 0 ? kOk : LastErrno(); }

// One component of a path with its NUL. Whatever could lead elsewhere (".", "..", '/', NUL) is
// invalid.
class ComponentName {
 public:
  explicit ComponentName(std::string_view name);
  // ENAMETOOLONG or EINVAL.
  Errno error() const { return error_; }
  const char* c_str() const { return text_; }

 private:
  Errno error_;
  char text_[wire::kMaxNameBytes + 1];
};

// The name of descriptor `fd` below /proc/self/fd: for what the kernel does by path only. Following
// it leads to the very object, a symlink too, and checks nothing on the way.
class ProcName {
 public:
  explicit ProcName(int fd);
  const char* path() const { return text_; }                       // "/proc/self/fd/7"
  const char* number() const { return text_ + kDirectoryLength; }  // "7"

 private:
  static constexpr size_t kDirectoryLength = 14;
  char text_[32];
};

// Of the object behind an O_PATH or other descriptor: basic fields, birth time, mount id.
Errno StatFd(int fd, struct statx& status);
// st_dev, joined.
uint64_t DeviceOf(const struct statx& status);
// Tells mounts apart; the device where the kernel gives no mount id (before 5.8).
uint64_t MountIdOf(const struct statx& status);
// What keeps inode numbers of several devices below one export apart; 0 for the export's own.
uint64_t InodeSalt(uint64_t device, uint64_t root_device);
wire::Attributes ToAttributes(const struct statx& status, uint64_t root_device);

// Whether the thread, by the ids that it acts under, may do to the object what `mask` (R_OK, W_OK,
// X_OK) says.
Errno MayAccess(int fd, uint32_t mask);

// Whether files of this descriptor's file system are memory: reads and writes do not wait for a
// disk.
bool IsMemoryFileSystem(int fd);

// Whether the page cache has all of these bytes of a file; some of them may be on their way to it.
// False, too, where that cannot be known (before Linux 6.5).
bool IsCached(int fd, uint64_t offset, uint64_t size);

}  // namespace rdmafs
