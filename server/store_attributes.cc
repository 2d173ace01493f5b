// PosixStore: attributes, access and the file system's own figures.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <climits>

#include "server/posix_calls.h"
#include "server/posix_objects.h"
#include "server/posix_store.h"

namespace rdmafs {
namespace {

constexpr uint32_t kTimes =
    wire::kSetAtime | wire::kSetMtime | wire::kSetAtimeNow | wire::kSetMtimeNow;

bool Writable(const OpenFile* open) {
  return open != nullptr && open->fd() >= 0 && (open->flags() & O_ACCMODE) != O_RDONLY;
}

Errno SetOwner(int fd, const wire::SetAttributes& changes) {
  constexpr uint32_t kUnchanged = ~uint32_t{0};
  const uint32_t uid = (changes.valid & wire::kSetUid) != 0 ? changes.uid : kUnchanged;
  const uint32_t gid = (changes.valid & wire::kSetGid) != 0 ? changes.gid : kUnchanged;
  return ToErrno(fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
}

// An open file may be cut whatever its mode says now.
Errno SetSize(int fd, const OpenFile* open, uint64_t size) {
  if (size > static_cast<uint64_t>(INT64_MAX)) return Errno(EFBIG);
  const auto length = static_cast<off_t>(size);
  if (Writable(open)) return ToErrno(ftruncate(open->fd(), length));
  return ToErrno(truncate(ProcName(fd).path(), length));
}

timespec Time(const wire::SetAttributes& changes, uint32_t set, uint32_t now, int64_t seconds,
              uint32_t nanoseconds) {
  if ((changes.valid & now) != 0) return {0, UTIME_NOW};
  if ((changes.valid & set) == 0) return {0, UTIME_OMIT};
  return {seconds, static_cast<long>(nanoseconds)};
}

Errno SetTimes(int fd, const OpenFile* open, const wire::SetAttributes& changes) {
  // UTIME_NOW and UTIME_OMIT are numbers of nanoseconds that a peer must not be able to say.
  if (changes.atime_ns >= 1'000'000'000 || changes.mtime_ns >= 1'000'000'000) return Errno(EINVAL);
  const timespec times[2] = {
      Time(changes, wire::kSetAtime, wire::kSetAtimeNow, changes.atime_s, changes.atime_ns),
      Time(changes, wire::kSetMtime, wire::kSetMtimeNow, changes.mtime_s, changes.mtime_ns)};
  const ProcName name(fd);
  if (utimensat(AT_FDCWD, name.path(), times, 0) == 0) return kOk;
  // With ctime it is the client's write-back telling when it wrote, not utimensat(2); whoever has
  // the file open for writing sets its mtime anyway.
  const bool write_back = errno == EPERM && (changes.valid & wire::kSetCtime) != 0 &&
                          Writable(open) &&
                          (changes.valid & (wire::kSetAtime | wire::kSetAtimeNow)) == 0;
  if (!write_back) return LastErrno();
  ThreadCredentials::ServerScope as_server;
  return ToErrno(utimensat(AT_FDCWD, name.path(), times, 0));
}

Errno Apply(int fd, const OpenFile* open, const wire::SetAttributes& changes) {
  const auto has = [&](uint32_t bits) { return (changes.valid & bits) != 0; };
  // Nothing to change is a chown(2) that leaves both ids as they are: it sets ctime. Or it comes
  // before a write that will clear suid, from whom chown(2) would be refused.
  if (!has(~uint32_t{wire::kSetKillSuidGid | wire::kSetCtime})) {
    const Errno error = SetOwner(fd, changes);
    return error == Errno(EPERM) ? kOk : error;
  }
  // The owner before the mode: chown(2) clears suid and sgid. Times last: the others touch them.
  if (has(wire::kSetUid | wire::kSetGid)) {
    if (Errno error = SetOwner(fd, changes); !error.ok()) return error;
  }
  if (has(wire::kSetMode)) {
    Errno error = ToErrno(fchmodat(AT_FDCWD, ProcName(fd).path(), changes.mode & 07777, 0));
    if (!error.ok()) return error;
  }
  if (has(wire::kSetSize)) {
    if (Errno error = SetSize(fd, open, changes.size); !error.ok()) return error;
  }
  if (!has(kTimes)) return kOk;
  Errno error = SetTimes(fd, open, changes);
  // Truncation was allowed and set the times already; the client only repeats it.
  return has(wire::kSetSize) ? kOk : error;
}

}  // namespace

Result<wire::Attributes> PosixStore::GetAttr(const Identity& identity,
                                             const wire::FileHandle& handle, OpenFile* open) {
  struct statx status;
  if (open != nullptr && open->fd() >= 0) {
    if (Errno error = StatFd(open->fd(), status); !error.ok()) return error;
    return objects_->AttributesOf(open->fd(), status);
  }
  // Whoever has the handle may ask; taking an identity (3 us) would not change the answer.
  auto object = objects_->Resolve(handle);
  if (!object.ok()) return object.error();
  if (Errno error = StatFd((*object)->fd.get(), status); !error.ok()) return error;
  return objects_->AttributesOf((*object)->fd.get(), status);
}

Result<wire::Attributes> PosixStore::SetAttr(const Identity& identity,
                                             const wire::FileHandle& handle, OpenFile* open,
                                             const wire::SetAttributes& changes) {
  // For a truncation. A change of owner clears what the caller's rights say, as it does locally;
  // FUSE asks for it there, too, whoever the caller is.
  constexpr uint32_t kTruncation = wire::kSetSize | wire::kSetKillSuidGid;
  const bool kill = (changes.valid & kTruncation) == kTruncation;
  auto object = Enter(identity, handle, kill ? SetIdBits::kClear : SetIdBits::kAsCaller);
  if (!object.ok()) return object.error();
  const int fd = (*object)->fd.get();
  if (Errno error = Apply(fd, open, changes); !error.ok()) return error;
  struct statx status;
  if (Errno error = StatFd(fd, status); !error.ok()) return error;
  return objects_->AttributesOf(fd, status);
}

Errno PosixStore::Access(const Identity& identity, const wire::FileHandle& handle, uint32_t mask) {
  if ((mask & ~uint32_t{R_OK | W_OK | X_OK}) != 0) return Errno(EINVAL);
  auto object = Enter(identity, handle);
  if (!object.ok()) return object.error();
  return MayAccess((*object)->fd.get(), mask);
}

Result<wire::FileSystemStatistics> PosixStore::StatFs(const Identity& identity,
                                                      const wire::FileHandle& handle) {
  auto object = Enter(identity, handle);
  if (!object.ok()) return object.error();
  struct statvfs status;
  if (fstatvfs((*object)->fd.get(), &status) != 0) return LastErrno();
  wire::FileSystemStatistics out{};
  out.blocks = status.f_blocks;
  out.blocks_free = status.f_bfree;
  out.blocks_available = status.f_bavail;
  out.files = status.f_files;
  out.files_free = status.f_ffree;
  out.block_size = static_cast<uint32_t>(status.f_bsize);
  out.fragment_size = static_cast<uint32_t>(status.f_frsize);
  out.name_max = static_cast<uint32_t>(status.f_namemax);
  out.flags = static_cast<uint32_t>(status.f_flag);
  return out;
}

Errno PosixStore::SyncFs(const wire::FileHandle& handle) {
  auto object = objects_->Resolve(handle);
  if (!object.ok()) return object.error();
  auto mount = objects_->MountOf(**object);
  if (!mount.ok()) return mount.error();
  return ToErrno(syncfs((*mount)->fd.get()));
}

}  // namespace rdmafs
