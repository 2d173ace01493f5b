#include "server/posix_calls.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstdio>

#include "transport/wire/codec.h"

namespace rdmafs {

ComponentName::ComponentName(std::string_view name) {
  text_[0] = '\0';
  if (name.size() > wire::kMaxNameBytes) {
    error_ = Errno(ENAMETOOLONG);
  } else if (!wire::IsComponent(name)) {
    error_ = Errno(EINVAL);
  } else {
    std::memcpy(text_, name.data(), name.size());
    text_[name.size()] = '\0';
  }
}

ProcName::ProcName(int fd) { std::snprintf(text_, sizeof text_, "/proc/self/fd/%d", fd); }

Errno StatFd(int fd, struct statx& status) {
  return ToErrno(
      statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &status));
}

uint64_t DeviceOf(const struct statx& status) {
  return uint64_t{status.stx_dev_major} << 32 | status.stx_dev_minor;
}

uint64_t MountIdOf(const struct statx& status) {
  return (status.stx_mask & STATX_MNT_ID) != 0 ? status.stx_mnt_id : DeviceOf(status);
}

uint64_t InodeSalt(uint64_t device, uint64_t root_device) {
  // The high bits: inode numbers rarely use them.
  return device == root_device
             ? 0
             : ((device ^ device >> 32) * 0x9e3779b97f4a7c15u) & 0x7fff000000000000u;
}

namespace {

// Times advance with the clock tick (up to 10 ms; with multigrain timestamps, from Linux 6.13 on,
// as needed), on some file systems in steps of up to 2 s (FAT); and a write sets them before its
// data can be read.
bool IsUnsettled(const statx_timestamp& ctime) {
  constexpr int64_t kSettleSeconds = 2;
  timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return ctime.tv_sec >= now.tv_sec - kSettleSeconds;
}

}  // namespace

wire::Attributes ToAttributes(const struct statx& status, uint64_t root_device) {
  wire::Attributes out{};
  out.ino = status.stx_ino ^ InodeSalt(DeviceOf(status), root_device);
  out.size = status.stx_size;
  out.blocks = status.stx_blocks;
  out.atime_s = status.stx_atime.tv_sec;
  out.mtime_s = status.stx_mtime.tv_sec;
  out.ctime_s = status.stx_ctime.tv_sec;
  out.atime_ns = status.stx_atime.tv_nsec;
  out.mtime_ns = status.stx_mtime.tv_nsec;
  out.ctime_ns = status.stx_ctime.tv_nsec;
  out.mode = status.stx_mode;
  out.nlink = status.stx_nlink;
  out.uid = status.stx_uid;
  out.gid = status.stx_gid;
  out.rdev_major = status.stx_rdev_major;
  out.rdev_minor = status.stx_rdev_minor;
  out.blksize = status.stx_blksize;
  if (IsUnsettled(status.stx_ctime)) out.flags |= wire::kUnsettled;
  return out;
}

Errno MayAccess(int fd, uint32_t mask) {
  // Without AT_EACCESS the real ids would count, which are the server's.
  return ToErrno(static_cast<int>(
      syscall(SYS_faccessat2, fd, "", static_cast<int>(mask), AT_EMPTY_PATH | AT_EACCESS)));
}

bool IsMemoryFileSystem(int fd) {
  struct statfs status;
  if (fstatfs(fd, &status) != 0) return false;
  const auto type = static_cast<unsigned long>(status.f_type);
  return type == TMPFS_MAGIC || type == RAMFS_MAGIC;
}

bool IsCached(int fd, uint64_t offset, uint64_t size) {
  // cachestat(2), for headers of before Linux 6.5: its number is the same everywhere.
  constexpr long kCacheStat = 451;
  struct Range {
    uint64_t offset, size;
  } range{offset, size};
  struct Pages {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
  } pages{};
  static const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (size == 0 || syscall(kCacheStat, fd, &range, &pages, 0) != 0) return false;
  return pages.cached > (offset + size - 1) / page_bytes - offset / page_bytes;
}

}  // namespace rdmafs
